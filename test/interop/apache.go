package main

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/beevik/etree"
)

// apache is an Apache of its own on loopback, with a program that prints what Apache knows of a person.
type apache struct {
	lab  *lab
	base string
	dir  string
	run  *program
}

func newApache(ctx context.Context, l *lab) (*apache, error) {
	addr, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	a := &apache{lab: l, base: "http://" + addr, dir: filepath.Join(l.dir, l.slug)}
	if err := os.MkdirAll(filepath.Join(a.dir, "cgi"), 0o755); err != nil {
		return nil, err
	}
	script, err := os.ReadFile(filepath.Join(l.root, "apache", "env.sh"))
	if err != nil {
		return nil, err
	}
	return a, os.WriteFile(filepath.Join(a.dir, "cgi", "env"), script, 0o755)
}

// write writes a file of the instance and tells whether it is another than before.
func (a *apache) write(name, text string) (changed bool, err error) {
	path := filepath.Join(a.dir, name)
	old, err := os.ReadFile(path)
	if err == nil && string(old) == text {
		return false, nil
	}
	return true, os.WriteFile(path, []byte(text), 0o644)
}

// serve starts it anew, with a module and its directives.
func (a *apache) serve(ctx context.Context, module, directives string, env ...string) error {
	if err := a.stop(); err != nil {
		return err
	}
	const modules = "/usr/lib/apache2/modules/"
	var b strings.Builder
	for _, m := range []string{"mpm_prefork", "authn_core", "authz_core", "authz_user", "env", "mime", "alias", "cgi"} {
		fmt.Fprintf(&b, "LoadModule %s_module %smod_%s.so\n", m, modules, m)
	}
	fmt.Fprintf(&b, "%s\nServerName %s\nServerRoot %s\nDocumentRoot %s\nListen %s\n", module, a.base, a.dir, a.dir, strings.TrimPrefix(a.base, "http://"))
	fmt.Fprintf(&b, "PidFile %s/apache.pid\nErrorLog %s/error.log\nLogLevel info\nTypesConfig /dev/null\nStartServers 2\nMaxRequestWorkers 8\nUseCanonicalName On\n", a.dir, a.dir)
	if os.Geteuid() == 0 {
		b.WriteString("User www-data\nGroup www-data\n")
	}
	fmt.Fprintf(&b, "Mutex file:%s default\nScriptAlias /secure %s/cgi/env\nScriptAlias /open %s/cgi/env\n<Directory %s>\nRequire all granted\n</Directory>\n%s\n", a.dir, a.dir, a.dir, a.dir, directives)
	if _, err := a.write("apache.conf", b.String()); err != nil {
		return err
	}
	var err error
	a.run, err = start(filepath.Join(a.dir, "apache.log"), env, "/usr/sbin/apache2", "-f", filepath.Join(a.dir, "apache.conf"), "-D", "FOREGROUND")
	if err != nil {
		return err
	}
	if err := a.run.answers(ctx, a.base+"/"); err != nil {
		log, _ := os.ReadFile(filepath.Join(a.dir, "error.log"))
		return fmt.Errorf("%w: %s", err, log)
	}
	return nil
}

func (a *apache) stop() error {
	if a.run == nil {
		return nil
	}
	err := a.run.stop()
	a.run = nil
	return err
}

// environment is what Apache knows at the page that everybody may see.
func (a *apache) environment(ctx context.Context, b *browser) (map[string]string, error) {
	p, err := b.open(ctx, a.base+"/open")
	if err != nil {
		return nil, err
	}
	if p.status != http.StatusOK || !strings.HasPrefix(p.url.String(), a.base) {
		return nil, fmt.Errorf("environment: %s", p)
	}
	raw, err := base64.StdEncoding.DecodeString(string(p.body))
	if err != nil {
		return nil, err
	}
	env := map[string]string{}
	for line := range strings.SplitSeq(string(raw), "\x00") {
		if k, v, ok := strings.Cut(line, "="); ok {
			env[k] = v
		}
	}
	return env, nil
}

// attributeNames are those that are mapped.
var attributeNames = []string{"email", "firstName", "lastName", "displayName", "groups", "title", "text"}

// mellon is mod_auth_mellon.
type mellon struct {
	*apache
}

func newMellon() provider { return &mellon{} }

func (m *mellon) name() string { return "mod_auth_mellon" }

func (m *mellon) version(ctx context.Context) (string, error) {
	return debian("libapache2-mod-auth-mellon")(ctx, m.lab)
}

func (m *mellon) lacks() map[string]lack {
	return map[string]lack{
		"force":      {"it has no setting for ForceAuthn", "no ForceAuthn"},
		"attributes": {"it gives values to programs as XML writes them: & as &amp; and so on; all else is right", escapedDifferences()},
	}
}

// escapedDifferences is exactly what the case of attributes says if all values arrive as XML writes them.
func escapedDifferences() string {
	escape := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	got := want()
	for name, values := range got {
		values = slices.Clone(values)
		for i := range values {
			values[i] = escape.Replace(values[i])
		}
		got[name] = values
	}
	return oneLine(differences(got).Error())
}

func (m *mellon) start(ctx context.Context, l *lab) (err error) {
	m.apache, err = newApache(ctx, l)
	return err
}

// mellonMetadata is what an administrator writes, after the pattern of mellon_create_metadata.
func (m *mellon) mellonMetadata(set settings) (string, error) {
	cert, err := bare(m.lab.key.certPEM)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`<EntityDescriptor entityID="%[1]s/mellon/metadata" xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
 <SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol" AuthnRequestsSigned="%[3]t" WantAssertionsSigned="%[4]t">
  <KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>%[2]s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>
  <KeyDescriptor use="encryption"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>%[2]s</ds:X509Certificate></ds:X509Data></ds:KeyInfo></KeyDescriptor>
  <SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="%[1]s/mellon/logout"/>
  <NameIDFormat>%[5]s</NameIDFormat>
  <AssertionConsumerService index="0" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="%[1]s/mellon/postResponse"/>
 </SPSSODescriptor>
</EntityDescriptor>
`, m.base, cert, set.Sign, set.WantAssertionSigned, set.Format), nil
}

func (m *mellon) configure(ctx context.Context, set settings, idp idpSide) error {
	md, err := m.mellonMetadata(set)
	if err != nil {
		return err
	}
	theirs, err := os.ReadFile(idp.Metadata)
	if err != nil {
		return err
	}
	if set.Binding == "post" {
		// It takes the first binding of our metadata for its requests.
		if theirs, err = withoutRedirectSSO(theirs); err != nil {
			return err
		}
	}
	one, err := m.write("sp.xml", md)
	if err != nil {
		return err
	}
	two, err := m.write("idp.xml", string(theirs))
	if err != nil {
		return err
	}
	if !one && !two && m.run != nil {
		return nil
	}
	var names strings.Builder
	for _, n := range attributeNames {
		fmt.Fprintf(&names, "MellonSetEnvNoPrefix %q %q\n", "SAML_"+n, n)
	}
	return m.serve(ctx, `LoadModule auth_mellon_module /usr/lib/apache2/modules/mod_auth_mellon.so
MellonLockFile `+m.dir+`/mellon.lock`, fmt.Sprintf(`<Location />
MellonEnable info
MellonEndpointPath /mellon
MellonVariable mellon
MellonSecureCookie Off
MellonSPMetadataFile %[1]s/sp.xml
MellonSPPrivateKeyFile %[2]s
MellonSPCertFile %[3]s
MellonIdPMetadataFile %[1]s/idp.xml
MellonSignatureMethod rsa-sha256
MellonEnvVarsSetCount On
%[4]s</Location>
<Location /secure>
AuthType Mellon
MellonEnable auth
Require valid-user
</Location>`, m.dir, m.lab.key.keyFile, m.lab.key.certFile, names.String()))
}

// withoutRedirectSSO takes the endpoint for sign-on by Redirect out of our metadata.
func withoutRedirectSSO(md []byte) ([]byte, error) {
	doc := etree.NewDocument()
	if err := doc.ReadFromBytes(md); err != nil {
		return nil, err
	}
	for _, e := range doc.FindElements("//SingleSignOnService") {
		if strings.HasSuffix(e.SelectAttrValue("Binding", ""), ":HTTP-Redirect") {
			e.Parent().RemoveChild(e)
		}
	}
	return doc.WriteToBytes()
}

func (m *mellon) metadata(ctx context.Context) ([]byte, error) {
	return fetch(ctx, m.base+"/mellon/metadata")
}

func (m *mellon) login(set settings) string {
	if set.Passive {
		return m.base + "/mellon/login?IsPassive=true&ReturnTo=" + url.QueryEscape(m.base+"/open")
	}
	return m.base + "/secure"
}

func (m *mellon) logout(settings) string {
	return m.base + "/mellon/logout?ReturnTo=" + url.QueryEscape(m.base+"/open")
}

func (m *mellon) session(ctx context.Context, b *browser) (*session, error) {
	env, err := m.environment(ctx, b)
	if err != nil || env["MELLON_NAME_ID"] == "" {
		return nil, err
	}
	s := &session{NameID: env["MELLON_NAME_ID"], Attributes: map[string][]string{}}
	for _, name := range attributeNames {
		n, err := strconv.Atoi(env["SAML_"+name+"_N"])
		if err != nil {
			continue
		}
		for i := range n {
			s.Attributes[name] = append(s.Attributes[name], env[fmt.Sprintf("SAML_%s_%d", name, i)])
		}
	}
	return s, nil
}

// shibboleth is the Shibboleth SP: a module of Apache and a daemon.
type shibboleth struct {
	*apache
	daemon *program
}

func newShibboleth() provider { return &shibboleth{} }

func (s *shibboleth) name() string { return "Shibboleth SP" }

func (s *shibboleth) version(ctx context.Context) (string, error) {
	return debian("libapache2-mod-shib")(ctx, s.lab)
}

func (s *shibboleth) lacks() map[string]lack { return nil }

func (s *shibboleth) start(ctx context.Context, l *lab) (err error) {
	s.apache, err = newApache(ctx, l)
	return err
}

func quoted(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // to memory
	return b.String()
}

func (s *shibboleth) configure(ctx context.Context, set settings, idp idpSide) error {
	binding := "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"
	if set.Binding == "post" {
		binding = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST"
	}
	theirs, err := os.ReadFile(idp.Metadata)
	if err != nil {
		return err
	}
	var attributes strings.Builder
	for _, n := range attributeNames {
		fmt.Fprintf(&attributes, ` <Attribute name="%[1]s" nameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:basic" id="SAML_%[1]s"/>`+"\n", n)
	}
	for _, f := range []string{formatEmail, formatPersistent, formatTransient} {
		fmt.Fprintf(&attributes, ` <Attribute name="%s" id="SAML_NAMEID"><AttributeDecoder xsi:type="NameIDAttributeDecoder" formatter="$Format $Name"/></Attribute>`+"\n", f)
	}
	changed := false
	for name, text := range map[string]string{
		"idp.xml": string(theirs),
		"attribute-map.xml": `<Attributes xmlns="urn:mace:shibboleth:2.0:attribute-map" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
` + attributes.String() + `</Attributes>
`,
		"shibd.logger": fmt.Sprintf(`log4j.rootCategory=INFO, file
log4j.appender.file=org.apache.log4j.FileAppender
log4j.appender.file.fileName=%s/shibd-own.log
log4j.appender.file.layout=org.apache.log4j.PatternLayout
log4j.appender.file.layout.ConversionPattern=%%d %%p %%c: %%m%%n
`, s.dir),
		"shibboleth2.xml": fmt.Sprintf(`<SPConfig xmlns="urn:mace:shibboleth:3.0:native:sp:config" clockSkew="60">
 <OutOfProcess logger="%[1]s/shibd.logger"/>
 <UnixListener address="%[1]s/shibd.sock"/>
 <ApplicationDefaults entityID="%[2]s/shibboleth" signing="%[5]t" encryption="false" REMOTE_USER="SAML_NAMEID">
  <Sessions lifetime="28800" timeout="3600" relayState="ss:mem" checkAddress="false" handlerSSL="false" cookieProps="http" redirectLimit="exact">
   <SSO entityID="%[3]s" outgoingBindings="%[6]s" NameIDFormat="%[7]s">SAML2</SSO>
   <Logout>SAML2 Local</Logout>
   <Handler type="MetadataGenerator" Location="/Metadata" signing="false"/>
  </Sessions>
  <Errors supportContact="root@localhost"/>
  <MetadataProvider type="XML" validate="true" path="%[1]s/idp.xml"/>
  <AttributeExtractor type="XML" validate="true" reloadChanges="false" path="%[1]s/attribute-map.xml"/>
  <CredentialResolver type="File" key="%[8]s" certificate="%[4]s"/>
 </ApplicationDefaults>
 <SecurityPolicyProvider type="XML" validate="true" path="security-policy.xml"/>
 <ProtocolProvider type="XML" validate="true" reloadChanges="false" path="protocols.xml"/>
</SPConfig>
`, s.dir, s.base, quoted(idp.EntityID), s.lab.key.certFile, set.Sign, binding, set.Format, s.lab.key.keyFile),
	} {
		c, err := s.write(name, text)
		if err != nil {
			return err
		}
		changed = changed || c
	}
	if !changed && s.daemon != nil {
		return nil
	}
	if err := s.stop(); err != nil {
		return err
	}
	config := filepath.Join(s.dir, "shibboleth2.xml")
	s.daemon, err = start(filepath.Join(s.dir, "shibd.log"), nil, "/usr/sbin/shibd", "-f", "-F", "-c", config, "-p", filepath.Join(s.dir, "shibd.pid"))
	if err != nil {
		return err
	}
	if err := s.serve(ctx, "LoadModule mod_shib /usr/lib/apache2/modules/mod_shib.so\nShibConfig "+config, `<Location />
AuthType shibboleth
ShibRequestSetting requireSession 0
Require shibboleth
</Location>
<Location /secure>
ShibRequestSetting requireSession 1
Require shib-session
</Location>`); err != nil {
		return err
	}
	// The daemon is there when its metadata is.
	for range 200 {
		if _, err = s.metadata(ctx); err == nil {
			return nil
		}
		if err := pause(ctx, 0.05e9); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s", err, s.daemon.tail())
}

func (s *shibboleth) metadata(ctx context.Context) ([]byte, error) {
	return fetch(ctx, s.base+"/Shibboleth.sso/Metadata")
}

func (s *shibboleth) login(set settings) string {
	q := url.Values{"target": {s.base + "/secure"}}
	if set.Passive {
		q.Set("isPassive", "true")
		q.Set("target", s.base+"/open")
	}
	if set.Force {
		q.Set("forceAuthn", "true")
	}
	return s.base + "/Shibboleth.sso/Login?" + q.Encode()
}

func (s *shibboleth) logout(settings) string {
	return s.base + "/Shibboleth.sso/Logout?return=" + url.QueryEscape(s.base+"/open")
}

func (s *shibboleth) session(ctx context.Context, b *browser) (*session, error) {
	env, err := s.environment(ctx, b)
	if err != nil || env["Shib-Session-ID"] == "" && env["Shib_Session_ID"] == "" {
		return nil, err
	}
	got := &session{Attributes: map[string][]string{}}
	got.Format, got.NameID, _ = strings.Cut(env["SAML_NAMEID"], " ")
	for _, name := range attributeNames {
		if v, ok := env["SAML_"+name]; ok {
			got.Attributes[name] = semicolons(v)
		}
	}
	return got, nil
}

// semicolons splits values as Shibboleth joins them: by semicolons, those within a value after a backslash.
func semicolons(s string) []string {
	const mark = "\x00"
	out := strings.Split(strings.ReplaceAll(s, `\;`, mark), ";")
	for i := range out {
		out[i] = strings.ReplaceAll(out[i], mark, ";")
	}
	return slices.Clip(out)
}

func (s *shibboleth) stop() error {
	err := s.apache.stop()
	if s.daemon != nil {
		if e := s.daemon.stop(); err == nil {
			err = e
		}
		s.daemon = nil
	}
	return err
}
