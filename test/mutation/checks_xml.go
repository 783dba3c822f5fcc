package main

const (
	readFile    = "internal/saml/xmldsig/read.go"
	verifyFile  = "internal/saml/xmldsig/verify.go"
	algFile     = "internal/saml/xmldsig/algorithm.go"
	bindingFile = "internal/saml/binding.go"

	canonicalFile = "internal/saml/xmldsig/canonical.go"
	decryptFile   = "internal/saml/xmlenc/decrypt.go"
	encryptFile   = "internal/saml/xmlenc/encrypt.go"
)

// xmlChecks are those of the reader of XML and of the verification of signatures.
var xmlChecks = []check{
	// The reader.
	{"xml: length of a document", readFile, one("if len(data) > lim.Bytes {", "if false {"), readSuite},
	{"xml: UTF-8", readFile, one("if !utf8.Valid(data) {", "if !utf8.Valid(data) && false {"), readSuite},
	{"xml: depth", readFile, one("if len(p.open) >= p.lim.Depth {", "if false {"), readSuite},
	{"xml: number of nodes", readFile, one("if p.nodes > p.lim.Nodes {", "if false {"), readSuite},
	{"xml: number of attributes", readFile, one("if len(e.attrs)+len(e.declares) >= p.lim.Attributes {", "if false {"), readSuite},
	{"xml: DOCTYPE", readFile, one(`return 0, nil, "", errors.New("DOCTYPE and other declarations are refused")`, `p.i += max(strings.IndexByte(rest, '>'), 0) + 1`), readSuite},
	{"xml: processing instructions", readFile, one(`return 0, nil, "", errors.New("processing instructions are refused")`, `p.i += max(strings.IndexByte(rest, '>'), 0) + 1`), readSuite},
	{"xml: unknown entities", readFile, one(`return "", fmt.Errorf("unknown entity %q", name)`, `return name, nil`), readSuite},
	{"xml: one root element", readFile, one("case p.ended:", "case false:"), readSuite},
	{"xml: the same attribute twice", readFile, one("if b.Local == a.Local && b.Space == a.Space {", "if false && b == *a {"), readSuite},
	{"xml: the same prefix declared twice", readFile, one("if other.prefix == d.prefix {", "if false && other == d {"), readSuite},
	{"xml: relative namespace names", readFile, one(`case d.uri != "" && !absolute(d.uri):`, "case false:"), readSuite},
	{"xml: undeclared prefixes", readFile, one(`return "", fmt.Errorf("prefix %q is not declared", prefix)`, `return "", nil`), readSuite},
	{"xml: prefixes undeclared again", readFile, one(`case d.uri == "" && d.prefix != "":`, "case false:"), readSuite},
	{"xml: the prefix xml declared otherwise", readFile, one(`case (d.prefix == "xml") != (d.uri == nsXML):`, "case false:"), readSuite},
	{"xml: end tags that don't match", readFile, one(`if !p.take(name) {`, `if !p.take(name) && p.name() == "" {`), readSuite},
	{"xml: comment beside text", readFile, one("if f.comment && f.text {", "if false {"), readSuite},
	{"xml: comment within a value", readFile, one("if e.comment {\n\t\treturn \"\", fmt.Errorf(\"comment within %s\", e.Local)", "if false {\n\t\treturn \"\", fmt.Errorf(\"comment within %s\", e.Local)"), readSuite},
	{"xml: several children where one is read", readFile, one("if found {\n\t\t\treturn nil, false, fmt.Errorf(\"more than one %s in %s\", local, e.Local)", "if false {\n\t\t\treturn nil, false, fmt.Errorf(\"more than one %s in %s\", local, e.Local)"), readSuite},
	{"xml: namespaces of elements", readFile, one("return e.Local == local && e.Space == space", "return e.Local == local"), readSuite},
	{"xml: namespaces of attributes", readFile, one("if e.attrs[i].Local == local && e.attrs[i].Space == space {", "if e.attrs[i].Local == local {"), readSuite},
	{"xml: < within an attribute", readFile, one("if raw[i] == '<' {", "if false {"), readSuite},
	{"xml: ]]> within text", readFile, one(`if strings.HasSuffix(s[:i], "]]") {`, "if false {"), readSuite},
	{"xml: characters that XML can't hold", readFile, one("case bytesOf[s[i]] == control:", "case false:"), readSuite},
	{"xml: U+FFFE and U+FFFF", readFile, one("case bytesOf[s[i]] == higher &&", "case false &&"), readSuite},
	{"xml: references to no character", readFile, one("if err != nil || !validChar(rune(n)) {", "if err != nil {"), readSuite},

	// The shape of a signature.
	{"signature: a key is needed", algFile, one(`return errors.New("the signature does not verify with a known key")`, "if len(keys) == 0 {\n\t\treturn nil\n\t}\n\treturn errors.New(\"\")"), shapeSuite},
	{"signature: exactly one, child of the root", verifyFile, one("if err != nil || signatures != 1 || !found {", "if err != nil || !found {"), shapeSuite},
	{"signature: the root's ID is one", verifyFile, one("if !ok || !IsNCName(id) {", "if false && ok {"), shapeSuite},
	{"signature: IDs occur once", verifyFile, one("if ids.twice {", "if false {"), shapeSuite},
	{"signature: IDs in any spelling", verifyFile, one(`if strings.EqualFold(a.Local, "id") {`, `if a.Local == "ID" {`), shapeSuite},
	{"signature: nothing unexpected or repeated", verifyFile, one("if len(children) > 0 {\n\t\treturn nil, fmt.Errorf(\"%s holds an unexpected", "if false {\n\t\treturn nil, fmt.Errorf(\"%s holds an unexpected"), shapeSuite},
	{"signature: no text or comment between", verifyFile, one("if e.text || e.comment {", "if false {"), shapeSuite},
	{"signature: canonicalization method", verifyFile, one("alg != algExcC14N || len(info[0].Elements()) > 0 {", "false && alg == \"\" {"), shapeSuite},
	{"signature: algorithm allowed", algFile, one("return method{crypto.SHA1, false}, o.sha1", "return method{crypto.SHA1, false}, true"), shapeSuite},
	{"signature: digest algorithm allowed", algFile, one("return crypto.SHA1, o.sha1", "return crypto.SHA1, true"), shapeSuite},
	{"signature: the reference is to the root", verifyFile, one(`uri != "#"+id {`, `false && uri == "" {`), shapeSuite},
	{"signature: first transform", verifyFile, one("alg != algEnveloped || len(transforms[0].Elements()) > 0 {", `false && alg == "" {`), shapeSuite},
	{"signature: second transform", verifyFile, one(`if alg, _ := transforms[1].Attr("Algorithm"); alg != algExcC14N {`, `if alg, _ := transforms[1].Attr("Algorithm"); false && alg == "" {`), shapeSuite},
	{"signature: content of a transform", verifyFile, one(`if len(children) > 1 || !children[0].Is(algExcC14N, "InclusiveNamespaces") || len(children[0].Elements()) > 0 {`, "if false {"), shapeSuite},
	{"signature: length of the canonical form", canonicalFile, one("if len(c.out) > c.limit {", "if false {"), shapeSuite},
	{"signature: the digest is compared", verifyFile, one("if subtle.ConstantTimeCompare(h.Sum(nil), r.digest) != 1 {", "if subtle.ConstantTimeCompare(h.Sum(nil), r.digest) > 1 {"), shapeSuite},
	{"signature: base64 is strict", verifyFile, one("base64.StdEncoding.Strict().DecodeString(", "base64.StdEncoding.DecodeString("), shapeSuite},
	{"signature: strength of a key", algFile, one("if key.N.BitLen() < 2048 {", "if false {"), shapeSuite},
	{"signature: strength of a curve", algFile, one("if key.Curve.Params().BitSize < 256 {", "if false {"), shapeSuite},
	{"signature: one in a large document", verifyFile, one(`case signatures != 1 || part.xml == "":`, `case part.xml == "":`), shapeSuite},
	{"signature: IDs occur once in a large document", verifyFile, one("case ids.twice:", "case false:"), shapeSuite},
	{"signature: what verified was signed in a large document", verifyFile, one("if err := ref.check(raw); err != nil {\n\t\treturn nil, err", "if err := ref.check(raw); err != nil && false {\n\t\treturn nil, err"), shapeSuite},
	{"detached signature: algorithm allowed", verifyFile, one("if !ok {\n\t\treturn fmt.Errorf(\"xmldsig: signature algorithm", "if !ok {\n\t\treturn nil\n\t}\n\tif false {\n\t\treturn fmt.Errorf(\"xmldsig: signature algorithm"), shapeSuite},
	{"signature: the octets are verified", algFile, one("len(signature) > 0 && m.verify(key, digest, signature) {", "len(signature) > 0 && (m.verify(key, digest, signature) || true) {"), shapeSuite},
	{"detached signature: it is verified", verifyFile, one("if err := m.verifyAny(keys, octets, signature); err != nil {", "if err := m.verifyAny(keys, octets, signature); err != nil && false {"), shapeSuite},
	{"signature: only keys that are strong enough", algFile, one("if CheckKey(key) == nil && m.fits(key) && len", "if m.fits(key) && len"), shapeSuite},
	{"signature: SHA-1 is nothing to sign with", "internal/saml/xmldsig/signer.go", one("if hash == crypto.SHA1 {", "if false {"), shapeSuite},
}

// secretChecks are those of encryption.
var secretChecks = []check{
	{"encryption: content algorithms", decryptFile, one("m.keySize == 0 || len(method.Elements()) > 0 {", "m.keySize == 0 {"), secretSuite},
	{"encryption: CBC is none", encryptFile, one("case AES128GCM:\n\t\treturn 16", `case AES128GCM, ns + "aes128-cbc":
		return 16`), secretSuite},
	{"encryption: key transports", decryptFile, one("return 0 // OAEPparams among others", "continue"), secretSuite},
	{"encryption: PKCS #1 v1.5 is none", decryptFile, one("case algorithm == OAEPMGF1P &&", "case (algorithm == OAEPMGF1P || algorithm == transportV15) &&"), secretSuite},
	{"encryption: the digest of OAEP", decryptFile, one(`(digest == "" || digest == hashSHA1) && mgf == "":`, `mgf == "":`), secretSuite},
	{"encryption: the mask of OAEP", decryptFile, one("digest == hashSHA256 && mgf == mgfSHA256:", "digest == hashSHA256:"), secretSuite},
	{"encryption: one of each part", decryptFile, one("if err != nil || !found {\n\t\treturn &xmldsig.Element{}", "if err != nil {\n\t\treturn e.Children(space, local)[0]\n\t}\n\tif !found {\n\t\treturn &xmldsig.Element{}"), secretSuite},
	{"encryption: length of a ciphertext", decryptFile, []edit{
		{"|| len(text) > 2*base64.StdEncoding.EncodedLen(limit) {", "{"},
		{"if base64.StdEncoding.DecodedLen(len(text)) > limit+2 {", "if false {"},
		{"return b, err == nil && len(b) <= limit", "return b, err == nil"},
	}, secretSuite},
	{"encryption: base64 is strict", decryptFile, one("base64.StdEncoding.Strict().DecodeString(text)", "base64.StdEncoding.DecodeString(text)"), secretSuite},
	{"encryption: a wrong key isn't told from a wrong text", decryptFile, one("if err == nil && len(k) == len(session)", "if err != nil {\n\t\treturn nil, err\n\t}\n\tif err == nil && len(k) == len(session)"), secretSuite},
	{"encryption: length of the wrapped key", decryptFile, one(" && len(m.wrapped) == key.Size()", ""), secretSuite},
	{"encryption: strength of the recipient's key", encryptFile, one("n < 2048 {", "n < 1024 {"), secretSuite},
	{"encryption: the algorithm is allowed", encryptFile, one("if keySize(algorithm) == 0 {", "if false {"), secretSuite},
	{"encryption: a fresh key each time", encryptFile, one("rand.Read(key) // never fails", ""), secretSuite},
	{"encryption: a fresh start each time", encryptFile, one("rand.Read(sealed)\n", ""), secretSuite},
}

// bindingChecks are those of reading a message that a browser brings.
var bindingChecks = []check{
	{"binding: length of a query", bindingFile, one("if len(rawQuery) > maxQuery {", "if false {"), samlSuite},
	{"binding: length of a form", bindingFile, one("if len(body) > maxBody {", "if false {"), samlSuite},
	{"binding: length while inflating", bindingFile, one("io.LimitReader(f.r, maxMessage+1)", "io.LimitReader(f.r, 1<<30)"), samlSuite},
	{"binding: length of an inflated message", bindingFile, one("if len(b) > maxMessage {", "if false {"), samlSuite},
	{"binding: bytes behind the stream", bindingFile, one("if src.Len() > 0 {", "if src.Len() < 0 {"), samlSuite},
	{"binding: number of parameters", bindingFile, one("if pairs == maxPairs {", "if false {"), samlSuite},
	{"binding: encoded parameter names", bindingFile, one(`if strings.ContainsAny(name, "%+") {`, "if false {"), samlSuite},
	{"binding: a parameter twice", bindingFile, one("if _, twice := f.raw[name]; twice {", "if _, twice := f.raw[name]; twice && false {"), samlSuite},
	{"binding: unknown encoding", bindingFile, one(`ok && enc != "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE" {`, `ok && enc == "" {`), samlSuite},
	{"binding: half a signature", bindingFile, one("if hasAlg != hasSig {", "if hasAlg != hasSig && false {"), samlSuite},
	{"binding: the signature covers RelayState", bindingFile, one(`if relay, ok := f.raw["RelayState"]; ok {`, `if relay, ok := f.raw["RelayState"]; ok && false {`), samlSuite},
	{"binding: the signature covers the algorithm", bindingFile, one(`in.octets = append(in.octets, "&SigAlg="+f.raw["SigAlg"]...)`, ``), samlSuite},
	{"binding: length of RelayState", bindingFile, one("if len(in.relayState) > maxRelayState {", "if false {"), samlSuite},
	{"binding: RelayState is text", bindingFile, one("if !utf8.ValidString(in.relayState) || strings.ContainsRune(in.relayState, 0) {", "if !utf8.ValidString(in.relayState) && false {"), samlSuite},
	{"binding: both kinds of message at once", bindingFile, one("case hasRequest && hasResponse:", "case hasRequest && hasResponse && false:"), samlSuite},
	{"binding: a response where requests belong", bindingFile, one("case hasResponse && !takesResponses:", "case hasResponse && !takesResponses && false:"), samlSuite},
	{"binding: the message belongs at this address", bindingFile, one("if root.Space != NSProtocol || !slices.Contains(d.kinds, root.Local) || parameterOf(root.Local) != in.parameter {", "if false {"), samlSuite},
	{"binding: a message in the other parameter", bindingFile, one(" || parameterOf(root.Local) != in.parameter {", " {"), samlSuite},
	{"binding: namespace of the message", bindingFile, one("if root.Space != NSProtocol || ", "if "), samlSuite},
}
