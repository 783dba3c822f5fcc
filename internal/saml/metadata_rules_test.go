package saml_test

import (
	"strings"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/saml"
)

// An entity ID has at most 1024 characters (saml-core §8.3.6), and of one entity that is described twice neither counts.
func TestParseSPMetadataEntityID(t *testing.T) {
	entity := func(id string) string {
		return `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="` + id + `"><md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
			`<md:AssertionConsumerService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example/acs" index="0"/></md:SPSSODescriptor></md:EntityDescriptor>`
	}
	long := "https://sp.example/" + strings.Repeat("x", 1024-len("https://sp.example/"))
	for id, want := range map[string]bool{long: true, long + "x": false, "": false, " ": false} {
		got, err := saml.ParseSPMetadata([]byte(entity(id)), "", noon)
		if (err == nil) != want || err == nil && got.EntityID != id {
			t.Errorf("%d characters: %v", len(id), err)
		}
	}
	twice := `<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata">` + entity("https://sp.example/") + entity("https://sp.example/") + entity("https://other.example/") + `</md:EntitiesDescriptor>`
	if _, err := saml.ParseSPMetadata([]byte(twice), "https://sp.example/", noon); err == nil || !strings.Contains(err.Error(), "more than once") {
		t.Errorf("described twice: %v", err)
	}
	if got, err := saml.ParseSPMetadata([]byte(twice), "https://other.example/", noon); err != nil || got.EntityID != "https://other.example/" {
		t.Errorf("described once: %+v, %v", got, err)
	}
}
