package rehearsal

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The saved form of the state. API keys and sessions are kept as hashes.
type savedState struct {
	Version      int                 `json:"version"`
	OrgID        string              `json:"orgId"`
	OrgName      string              `json:"orgName"`
	SiteName     string              `json:"siteName"`
	Guard        bool                `json:"guard"`
	Switches     Switches            `json:"switches"`
	Domains      []Domain            `json:"domains"`
	Directories  []savedDirectory    `json:"directories"`
	Policies     []Policy            `json:"policies"`
	Accounts     []savedAccount      `json:"accounts"`
	OrgGroups    []savedOrgGroup     `json:"orgGroups"`
	Products     []Product           `json:"products"`
	Pending      []effect            `json:"pending"`
	Trouble      []LogLine           `json:"troubleshooting"`
	SignIns      []SignIn            `json:"signIns"`
	Sessions     map[string]savedSes `json:"sessions"`
	SignInNumber int64               `json:"signInNumber"`
}

type savedDirectory struct {
	ID      string       `json:"id"`
	Name    string       `json:"name"`
	SP      string       `json:"sp,omitempty"`
	IdP     *IdPSettings `json:"idp,omitempty"`
	KeyHash string       `json:"keyHash,omitempty"`
	KeyTail string       `json:"keyTail,omitempty"`
	Created time.Time    `json:"keyCreated,omitzero"`
	Expires time.Time    `json:"keyExpires,omitzero"`
	Users   []savedUser  `json:"users"`
	Groups  []savedGroup `json:"groups"`
}

type savedUser struct {
	ID       string    `json:"id"`
	Account  string    `json:"account"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Data     UserData  `json:"data"`
}

type savedGroup struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	External string    `json:"externalId,omitempty"`
	Created  time.Time `json:"created"`
	Modified time.Time `json:"modified"`
	Members  []string  `json:"members"`
	Conflict bool      `json:"conflict"`
}

type savedAccount struct {
	Account
	Claimed bool `json:"claimed"`
}

type savedOrgGroup struct {
	Name      string   `json:"name"`
	Default   bool     `json:"default"`
	Directory string   `json:"directory"`
	SCIMGroup string   `json:"scimGroup"`
	Automatic bool     `json:"automatic"`
	Members   []string `json:"members"`
}

type savedSes struct {
	ID         string      `json:"id"`
	Account    string      `json:"account"`
	Started    time.Time   `json:"started"`
	NameID     string      `json:"nameId"`
	Directory  string      `json:"directory"`
	Attributes []Attribute `json:"attributes"`
}

const savedVersion = 1

// saveLoop owns the background writing of the state file; it ends when the site closes.
func (s *Site) saveLoop() {
	defer s.saver.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-t.C:
			if err := s.save(); err != nil {
				s.log.Error("rehearsal state not saved", "file", s.cfg.StateFile, "error", err)
			}
		}
	}
}

// save writes the state if it has changed. The file is replaced atomically.
func (s *Site) save() error {
	s.mu.Lock()
	if !s.dirty {
		s.mu.Unlock()
		return nil
	}
	snapshot := s.st.snapshot()
	s.dirty = false
	s.mu.Unlock()
	if err := writeFile(s.cfg.StateFile, marshal(snapshot)); err != nil {
		s.mu.Lock()
		s.dirty = true
		s.mu.Unlock()
		return fmt.Errorf("rehearsal: save state: %w", err)
	}
	return nil
}

// writeFile replaces a file: temporary file, fsync, rename, fsync of the folder.
func writeFile(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // does nothing after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}

// snapshot copies what save needs, so that encoding happens outside the lock. UserData is shared: it is never
// changed in place.
func (st *state) snapshot() *savedState {
	out := &savedState{
		Version: savedVersion, OrgID: st.orgID, OrgName: st.orgName, SiteName: st.siteName, Guard: st.guard,
		Switches: st.switches, SignInNumber: st.signInNo, Sessions: map[string]savedSes{},
		Pending: append([]effect{}, st.pending...), Trouble: append([]LogLine{}, st.trouble...),
		SignIns: append([]SignIn{}, st.signIns...),
	}
	for _, d := range st.domains {
		out.Domains = append(out.Domains, d.view())
	}
	for _, d := range st.directories {
		sd := savedDirectory{ID: d.id, Name: d.name, Users: make([]savedUser, 0, len(d.users)), Groups: make([]savedGroup, 0, len(d.groups))}
		if d.saml != nil {
			sd.SP = d.saml.sp
			sd.IdP = &IdPSettings{EntityID: d.saml.entityID, SSOURL: d.saml.ssoURL, CertificatePEM: d.saml.pem}
		}
		if d.prov != nil {
			sd.KeyHash, sd.KeyTail, sd.Created, sd.Expires = d.prov.keyHash, d.prov.keyTail, d.prov.created, d.prov.expires
		}
		for _, u := range d.users {
			sd.Users = append(sd.Users, savedUser{u.id, u.accountID, u.created, u.modified, u.UserData})
		}
		for _, g := range d.groups {
			sd.Groups = append(sd.Groups, savedGroup{g.id, g.DisplayName, g.ExternalID, g.created, g.modified, append([]string{}, g.members...), g.conflict})
		}
		out.Directories = append(out.Directories, sd)
	}
	for _, p := range st.policies {
		out.Policies = append(out.Policies, Policy{ID: p.id, Name: p.name, Directory: p.directory, EnforceSSO: p.enforce, Default: p.deflt})
	}
	for _, a := range st.accounts {
		out.Accounts = append(out.Accounts, savedAccount{Account{
			ID: a.id, Email: a.email, GivenName: a.given, FamilyName: a.family, FullName: a.fullName, PublicName: a.publicName,
			JobTitle: a.jobTitle, Department: a.department, Organization: a.company, Timezone: a.timezone, Language: a.language,
			Active: a.active, Foreign: a.foreign, Source: a.source, Policy: a.policy, ImmutableID: a.immutableID,
			DirectoryID: a.scimDir, SCIMUserID: a.scimUser, CreatedAt: a.created, LastSignIn: a.lastSignIn,
		}, a.claimed})
	}
	for _, g := range st.orgGroups {
		sg := savedOrgGroup{Name: g.name, Default: g.deflt, Directory: g.directory, SCIMGroup: g.scimGroup, Automatic: g.automatic}
		for id := range g.members {
			sg.Members = append(sg.Members, id)
		}
		out.OrgGroups = append(out.OrgGroups, sg)
	}
	for _, p := range st.products {
		out.Products = append(out.Products, Product{p.name, append([]string{}, p.groups...)})
	}
	for hash, se := range st.sessions {
		out.Sessions[hash] = savedSes{se.id, se.accountID, se.started, se.nameID, se.directory, se.attributes}
	}
	return out
}

// loadState reads a state file; it gives nil when there is none yet.
func loadState(path string) (*state, error) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rehearsal: read state: %w", err)
	}
	var in savedState
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, fmt.Errorf("rehearsal: state file %s is damaged; move it away to begin anew: %w", path, err)
	}
	if in.Version != savedVersion {
		return nil, fmt.Errorf("rehearsal: state file %s is of version %d, this program reads version %d", path, in.Version, savedVersion)
	}
	return in.restore()
}

func (in *savedState) restore() (*state, error) {
	st := &state{
		orgID: in.OrgID, orgName: in.OrgName, siteName: in.SiteName, guard: in.Guard, switches: in.Switches,
		pending: in.Pending, trouble: in.Trouble, signIns: in.SignIns, signInNo: in.SignInNumber,
	}
	for _, d := range in.Domains {
		st.domains = append(st.domains, &domain{d.Name, d.Verified, d.Automatic, d.Directory, d.TXT})
	}
	for _, sd := range in.Directories {
		d := newDirectory(sd.ID, sd.Name)
		if sd.IdP != nil {
			cert, text, err := parseCertificate(sd.IdP.CertificatePEM)
			if err != nil {
				return nil, fmt.Errorf("rehearsal: saved certificate of %s: %w", sd.Name, err)
			}
			d.saml = &samlConfig{sd.SP, sd.IdP.EntityID, sd.IdP.SSOURL, text, cert}
		}
		if sd.KeyHash != "" {
			d.prov = &provisioning{sd.KeyHash, sd.KeyTail, sd.Created, sd.Expires}
		}
		for _, su := range sd.Users {
			d.userSeq++
			u := &userRecord{UserData: su.Data, id: su.ID, seq: d.userSeq, accountID: su.Account, created: su.Created, modified: su.Modified}
			d.users = append(d.users, u)
			d.userByID[u.id] = u
			d.index(u)
		}
		for _, sg := range sd.Groups {
			d.groupSeq++
			g := &groupRecord{
				DisplayName: sg.Name, ExternalID: sg.External, id: sg.ID, seq: d.groupSeq, created: sg.Created, modified: sg.Modified,
				conflict: sg.Conflict, position: map[string]int{},
			}
			for _, id := range sg.Members {
				if u := d.userByID[id]; u != nil && g.add(id) {
					u.groups = append(u.groups, g.id)
					d.memberships++
				}
			}
			d.groups = append(d.groups, g)
			d.groupByID[g.id] = g
			d.groupByName[fold(g.DisplayName)] = g
		}
		st.directories = append(st.directories, d)
	}
	for _, p := range in.Policies {
		st.policies = append(st.policies, &policy{p.ID, p.Name, p.Directory, p.EnforceSSO, p.Default})
	}
	if len(st.policies) == 0 {
		return nil, errors.New("rehearsal: the saved state has no authentication policy")
	}
	for _, a := range in.Accounts {
		st.accounts = append(st.accounts, &account{
			id: a.ID, email: a.Email, given: a.GivenName, family: a.FamilyName, fullName: a.FullName, publicName: a.PublicName,
			jobTitle: a.JobTitle, department: a.Department, company: a.Organization, timezone: a.Timezone, language: a.Language,
			active: a.Active, claimed: a.Claimed, foreign: a.Foreign, source: a.Source, policy: a.Policy, immutableID: a.ImmutableID,
			scimDir: a.DirectoryID, scimUser: a.SCIMUserID, created: a.CreatedAt, lastSignIn: a.LastSignIn,
		})
	}
	st.orgGroups = map[string]*orgGroup{}
	for _, sg := range in.OrgGroups {
		g := &orgGroup{sg.Name, sg.Default, sg.Directory, sg.SCIMGroup, sg.Automatic, map[string]struct{}{}}
		for _, id := range sg.Members {
			g.members[id] = struct{}{}
		}
		st.orgGroups[fold(g.name)] = g
	}
	for _, p := range in.Products {
		st.products = append(st.products, &product{p.Name, p.Groups})
	}
	st.sessions = map[string]*session{}
	for hash, se := range in.Sessions {
		st.sessions[hash] = &session{se.ID, se.Account, se.Started, se.NameID, se.Directory, se.Attributes}
	}
	st.reindex()
	return st, nil
}
