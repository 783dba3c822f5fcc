package app

import (
	"context"
	"io"
	"time"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// MetadataWatch says where a service provider's metadata is watched.
type MetadataWatch struct {
	// URL is an https address; http only where outbound requests to the host behind it are allowed.
	URL string
	// EntityID chooses one of several in the document; "" means the application's SP entity ID, or the only one there is.
	EntityID string
	// SigningCertificate (PEM) is whose signature the document must carry, usually a federation's. "" takes it unsigned.
	SigningCertificate string
}

// MetadataSource is how it stands with a watched address.
type MetadataSource struct {
	MetadataWatch
	// CheckedAt is when it was last asked for, ChangedAt when what it says of the service provider last changed, NextAt
	// when it will be asked for again.
	CheckedAt, ChangedAt, NextAt time.Time
	// ValidUntil is the end that the document gives itself; zero if none.
	ValidUntil time.Time
	// Error says in words why the last check failed; "" if it didn't. What was known before stays in use.
	Error string
	// Proposal is a change that waits for a person; nil if nothing does.
	Proposal *MetadataProposal
}

// MetadataProposal is what taking a document's values would change.
type MetadataProposal struct {
	// Hash names exactly these changes; ApproveMetadata and DismissMetadata refuse another one.
	Hash    string
	FoundAt time.Time
	Changes []Change
	// Notes are sentences about what would be left out or should be looked at.
	Notes []string
}

// Request is one request for a document at a web address.
type Request struct {
	URL string
	// ETag and LastModified are those of the copy that we have; "" if none.
	ETag, LastModified string
}

// Answer is what came. An error that Fetch returns instead has a public text.
type Answer struct {
	// Unchanged tells that the copy that we have is still good; there is no body then.
	Unchanged          bool
	ETag, LastModified string
	// Body is read until its end or the limit, and closed.
	Body io.ReadCloser
}

var errNotYet = problem.New(problem.Unavailable, "Watching metadata isn't possible yet.")

// WatchMetadata begins to watch a service provider's metadata at an address, or watches it elsewhere. The document is
// fetched at once: an application without values of the service provider takes them, for any other they are a proposal.
// Needs ManageApplications.
func (a *Applications) WatchMetadata(ctx context.Context, by access.Actor, id ID, w MetadataWatch) (MetadataSource, error) {
	return MetadataSource{}, errNotYet
}

// MetadataSource returns the address that is watched for an application; false if there is none. Needs
// ReadApplications.
func (a *Applications) MetadataSource(ctx context.Context, by access.Actor, id ID) (MetadataSource, bool, error) {
	return MetadataSource{}, false, errNotYet
}

// CheckMetadataNow fetches the document without waiting for its time. What goes wrong stands in the source's Error.
// Needs ManageApplications.
func (a *Applications) CheckMetadataNow(ctx context.Context, by access.Actor, id ID) (MetadataSource, error) {
	return MetadataSource{}, errNotYet
}

// ApproveMetadata takes the proposal with that hash. Conflict if the document or the settings have changed meanwhile.
// Needs ManageApplications.
func (a *Applications) ApproveMetadata(ctx context.Context, by access.Actor, id ID, hash string) (MetadataImport, error) {
	return MetadataImport{}, errNotYet
}

// DismissMetadata turns the proposal with that hash down: it isn't made again unless the document changes again. Needs
// ManageApplications.
func (a *Applications) DismissMetadata(ctx context.Context, by access.Actor, id ID, hash string) error {
	return errNotYet
}

// UnwatchMetadata ends watching; the settings stay as they are. Needs ManageApplications.
func (a *Applications) UnwatchMetadata(ctx context.Context, by access.Actor, id ID) error {
	return errNotYet
}

// RunMetadata checks the sources that are due. Replicas that run it together share them.
func (a *Applications) RunMetadata(ctx context.Context) error { return errNotYet }

// PreviewMetadata returns what ImportSPMetadata would change. Needs ManageApplications.
func (a *Applications) PreviewMetadata(ctx context.Context, by access.Actor, id ID, xml []byte, entityID string) (MetadataProposal, error) {
	return MetadataProposal{}, errNotYet
}

// SPEntityIDs lists the service providers that a metadata file describes, in its order. Needs ManageApplications.
func (a *Applications) SPEntityIDs(by access.Actor, xml []byte) ([]string, error) {
	return nil, errNotYet
}

// RunReminders gives the reminders that are due: 60, 30, 7 and 1 days before a signing certificate, a service provider's
// certificate or a provisioning token ends, and once it has.
func (a *Applications) RunReminders(ctx context.Context) error { return errNotYet }
