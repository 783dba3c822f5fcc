package idp

import (
	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
)

func (p *IDP) noteLogout(m message, outcome audit.Outcome, reason string, by access.Actor, correlation string) {
}
