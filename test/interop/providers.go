package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
)

// entry is a service provider that can be tried.
type entry struct {
	slug     string
	packages []string // of Debian
	node     bool     // needs node_modules
	make     func() provider
	// advice is for those who join it to Latchkey.
	advice []string
	// remarks go with cases that pass, by their keys.
	remarks map[string]string
}

const noReader = "it writes metadata, but reads none: the values of Latchkey's are handed to it"

// providers are all, in the order of the matrix.
func providers() []entry {
	return []entry{
		{
			slug: "shibboleth", packages: []string{"apache2-bin", "libapache2-mod-shib", "shibboleth-sp-utils"}, make: newShibboleth,
			advice: []string{
				"Attributes need a line each in `attribute-map.xml`, with `nameFormat=\"urn:oasis:names:tc:SAML:2.0:attrname-format:basic\"`: what isn't there is dropped silently.",
				"A NameID reaches programs only by a line with `NameIDAttributeDecoder` for its format.",
				"Several values arrive joined by semicolons; a semicolon within a value comes as `\\;`.",
				"Without metadata that names algorithms it signs requests by POST with SHA-1; Latchkey's metadata names those that it takes, so leave `signingAlg` alone.",
				"Single logout: set `signing=\"true\"` (or `front`) on `ApplicationDefaults`, since Latchkey takes signed logout messages only.",
			},
		},
		{
			slug: "mellon", packages: []string{"apache2-bin", "libapache2-mod-auth-mellon"}, make: newMellon,
			advice: []string{
				"Values reach programs as XML writes them: `&` is `&amp;`, `<` is `&lt;`. Programs have to turn that back.",
				"Requests go by the binding that stands first in Latchkey's metadata, Redirect; for POST take the other endpoint out of the copy of the metadata.",
				"The NameID format that it asks for is the first `NameIDFormat` of its own metadata file.",
				"Set `MellonEnvVarsSetCount On` to read attributes with several values.",
				"It has no setting for ForceAuthn.",
			},
		},
		{
			slug: "node-saml", node: true, make: nodeSAML, remarks: map[string]string{"metadata": noReader},
			advice: []string{
				"With `authnRequestBinding: \"HTTP-POST\"` set `skipRequestCompression: true`: it compresses requests by POST otherwise, which saml-bindings §3.5.4 doesn't know, and Latchkey refuses them.",
				"It reads no metadata: give it the sign-on URL as `entryPoint` and all certificates of the metadata as the list `idpCert`, so that a change of certificate goes smoothly.",
				"Choose RSA-SHA256 or RSA-SHA512: it doesn't know RSA-SHA384.",
				"`wantAssertionsSigned` and `wantAuthnResponseSigned` are both on by default, while Latchkey signs the assertion only by default: turn on signing of the response here, or `wantAuthnResponseSigned` off there.",
				"It asks for the context PasswordProtectedTransport unless `disableRequestedAuthnContext` is set.",
			},
		},
		{
			slug: "gosaml2", make: goSAML2, remarks: map[string]string{"metadata": noReader},
			advice: []string{
				"For signed requests by POST set `SignAuthnRequestsCanonicalizer` to exclusive canonicalization: the default, C14N 1.1, is one that saml-core §5.4.3 advises against, and Latchkey refuses it.",
				"For encrypted assertions set the field `SPKeyStore`, although it is marked as deprecated: what `SetSPKeyStore` is given isn't used to decrypt.",
				"`MetadataWithSLO` takes its hours for nanoseconds: pass 0, or the metadata has ended before anybody reads it.",
				"`RetrieveAssertionInfo` only warns of a wrong audience or time: the program has to look at `WarningInfo`.",
				"Logout goes by POST: give the single logout service in Latchkey with the POST binding.",
			},
		},
		{slug: "crewjam", make: crewjam, advice: []string{
			"`AllowIDPInitiated` has to be on for tiles of the portal.",
			"Requests are signed only if `SignatureMethod` is set, logout messages if `LogoutSignatureMethod` is.",
		}},
		{
			slug: "simplesamlphp", packages: []string{"simplesamlphp", "php-cli", "php-xml"}, make: newSimpleSAMLphp,
			advice: []string{
				"Latchkey's metadata can be read as it is: `'metadata.sources' => [['type' => 'xml', 'file' => …]]`.",
				"`sign.logout` and `validate.logout` have to be on for single logout.",
				"Requests go by Redirect where the metadata offers it.",
			},
		},
		{
			slug: "pysaml2", packages: []string{"python3-pysaml2", "xmlsec1"}, make: pySAML2,
			advice: []string{
				"For persistent NameIDs set `name_id_format_allow_create`: by default it forbids to make one, and Latchkey answers InvalidNameIDPolicy until the person has one (saml-core §3.4.1.1).",
				"Set `signing_algorithm` and `digest_algorithm`: its defaults are SHA-1.",
				"Pass `conv_info` to `parse_authn_request_response`, or it doesn't look at the Recipient.",
				"This version doesn't verify the signature of a LogoutRequest that comes by Redirect.",
				"`allow_unknown_attributes` lets attributes through that its own maps don't name.",
			},
		},
		{
			slug: "python3-saml", packages: []string{"python3-onelogin-saml2"}, make: python3SAML,
			advice: []string{
				"Set `signatureAlgorithm` and `digestAlgorithm`: its defaults are SHA-1.",
				"Its metadata names a key for encryption only while `wantAssertionsEncrypted` or `wantNameIdEncrypted` is on: turn that on before Latchkey reads the metadata.",
				"It sends requests and logout messages by Redirect only.",
			},
		},
		{
			slug: "ruby-saml", packages: []string{"ruby-saml", "ruby-webrick"}, make: rubySAML,
			advice: []string{
				"Set `signature_method` and `digest_method`: the defaults of this version are SHA-1.",
				"For requests by POST set `compress_request` to false: it compresses them otherwise.",
				"It takes the first certificate of the metadata and those after it, so a change of certificate goes smoothly.",
			},
		},
	}
}

func nodeSAML() provider {
	return &scripted{
		title: "node-saml", ver: npm("@node-saml/node-saml"),
		command: func(l *lab) []string { return []string{"node", filepath.Join(l.root, "node", "nodesaml.js")} },
		cannot: map[string]lack{
			"sha384":           {"it knows RSA with SHA-1, SHA-256 and SHA-512", "Invalid document signature"},
			"refuse-recipient": {"it doesn't look at the Recipient", "it signed zoe"},
		},
	}
}

func goSAML2() provider {
	return &scripted{
		title: "gosaml2", ver: goModule("github.com/russellhaering/gosaml2"),
		command: func(l *lab) []string { return []string{filepath.Join(l.dir, "gosaml2"), "gosaml2"} },
	}
}

func crewjam() provider {
	return &scripted{
		title: "crewjam/saml", ver: goModule("github.com/crewjam/saml"),
		command: func(l *lab) []string { return []string{filepath.Join(l.dir, "gosaml2"), "crewjam"} },
	}
}

func pySAML2() provider {
	return &scripted{
		title: "pysaml2", ver: debian("python3-pysaml2"), env: []string{"PYTHONDONTWRITEBYTECODE=1"},
		command: func(l *lab) []string {
			return []string{"/usr/bin/python3", filepath.Join(l.root, "python", "pysaml2_sp.py")}
		},
	}
}

func python3SAML() provider {
	return &scripted{
		title: "python3-saml", ver: debian("python3-onelogin-saml2"), env: []string{"PYTHONDONTWRITEBYTECODE=1"},
		command: func(l *lab) []string {
			return []string{"/usr/bin/python3", filepath.Join(l.root, "python", "onelogin_sp.py")}
		},
		cannot: map[string]lack{
			"sp-post":     {"it sends requests by Redirect only", "the request went by Redirect"},
			"signed-post": {"it sends requests by Redirect only", "the request went by Redirect"},
		},
	}
}

func rubySAML() provider {
	return &scripted{
		title: "ruby-saml", ver: debian("ruby-saml"),
		command: func(l *lab) []string { return []string{"/usr/bin/ruby", filepath.Join(l.root, "ruby", "sp.rb")} },
	}
}

// goModule is the version of a module that test/interop/gosaml2 requires.
func goModule(path string) func(context.Context, *lab) (string, error) {
	return func(ctx context.Context, l *lab) (string, error) {
		cmd := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", path)
		cmd.Dir = filepath.Join(l.root, "gosaml2")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
}
