package xmldsig

import (
	"crypto"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNoSignature says that the document carries no signature at all.
var ErrNoSignature = errors.New("xmldsig: no signature")

// Verified is a root element whose signature holds. Only Verify makes one that has content.
type Verified struct {
	raw  []byte
	root *Element
}

// Bytes returns the canonical form that the signature covers, without the signature itself.
func (v Verified) Bytes() []byte { return v.raw }

// Root returns the element read again from Bytes. For the zero value it is an element that has nothing.
func (v Verified) Root() *Element {
	if v.root == nil {
		return &Element{}
	}
	return v.root
}

// HasSignature reports whether any XML signature stands anywhere in the document.
func HasSignature(root *Element) bool {
	return !root.All(func(e *Element) bool { return !e.Is(ns, "Signature") })
}

// Verify checks the enveloped signature of a document's root by one of the keys, and returns what it covers. Nothing
// else of the document may be read afterwards.
//
// The shape is checked before any cryptography: one Signature in the whole document, a child of the root; in it one
// SignedInfo, one Reference to the root's ID, which is unique; the enveloped-signature and exclusive canonicalization
// transforms and no others; algorithms from a fixed list that fit the key. KeyInfo is never looked at: the keys are the
// caller's, chosen by the message's issuer.
func Verify(root *Element, keys []crypto.PublicKey, lim Limits, opts ...Option) (Verified, error) {
	v, err := verify(root, keys, lim, optionsOf(opts))
	if err != nil && !errors.Is(err, ErrNoSignature) {
		err = fmt.Errorf("xmldsig: %w", err)
	}
	return v, err
}

func verify(root *Element, keys []crypto.PublicKey, lim Limits, opts options) (Verified, error) {
	if !HasSignature(root) {
		return Verified{}, ErrNoSignature
	}
	var ids identifiers
	signatures := 0
	root.All(func(e *Element) bool {
		if e.Is(ns, "Signature") {
			signatures++
		}
		ids.add(e)
		return true
	})
	sig, found, err := root.Child(ns, "Signature")
	if opts.inner {
		signatures = len(root.Children(ns, "Signature"))
	}
	if err != nil || signatures != 1 || !found {
		return Verified{}, errNotOne
	}
	if ids.twice {
		return Verified{}, errTwice
	}
	ref, err := verifySignature(root, sig, keys, opts)
	if err != nil {
		return Verified{}, err
	}
	raw, err := canonical(root, sig, ref.prefixList, lim.Bytes)
	if err != nil {
		return Verified{}, err
	}
	if err := ref.check(raw); err != nil {
		return Verified{}, err
	}
	again, err := Read(raw, lim)
	if err != nil {
		return Verified{}, fmt.Errorf("what is signed can't be read: %w", err)
	}
	if !again.same(root) {
		return Verified{}, errors.New("another element is signed")
	}
	return Verified{raw: raw, root: again}, nil
}

// VerifyBytes is Verify for a document that is too large for a tree, such as a federation's metadata: time and memory
// grow with its length only. It returns the canonical form that the signature covers, to be read by a Scanner.
func VerifyBytes(data []byte, keys []crypto.PublicKey, lim Limits, opts ...Option) ([]byte, error) {
	raw, err := verifyBytes(data, keys, lim, optionsOf(opts))
	if err != nil && !errors.Is(err, ErrNoSignature) {
		err = fmt.Errorf("xmldsig: %w", err)
	}
	return raw, err
}

func verifyBytes(data []byte, keys []crypto.PublicKey, lim Limits, opts options) ([]byte, error) {
	s, err := prepare(data, lim)
	if err != nil {
		return nil, err
	}
	root, sig, err := findSignature(s, lim)
	if err != nil {
		return nil, err
	}
	ref, err := verifySignature(root, sig, keys, opts)
	if err != nil {
		return nil, err
	}
	raw, err := canonicalText(s, lim, ref.prefixList)
	if err != nil {
		return nil, err
	}
	if err := ref.check(raw); err != nil {
		return nil, err
	}
	again, err := rereadRoot(raw, lim)
	if err != nil {
		return nil, fmt.Errorf("what is signed can't be read: %w", err)
	}
	if !again.same(root) {
		return nil, errors.New("another element is signed")
	}
	return raw, nil
}

// signatureLimits bound the Signature of a large document, mostly certificates.
var signatureLimits = Limits{Bytes: 256 << 10, Depth: 16, Attributes: 32, Nodes: 1000}

// findSignature reads through a document. It returns the root, without content, and its one Signature.
func findSignature(s string, lim Limits) (root, sig *Element, err error) {
	p := reader{s: s, lim: lim, eof: true, recycle: true}
	var ids identifiers
	var part Part
	signatures, from, scope := 0, -1, 0
	for {
		k, e, _, err := p.next()
		if err != nil {
			return nil, nil, p.at(err)
		}
		switch {
		case k == startTag:
			ids.add(e)
			if root == nil {
				root = &Element{Space: e.Space, Local: e.Local, prefix: e.prefix, attrs: slices.Clone(e.attrs), declares: slices.Clone(e.declares)}
			}
			if e.Is(ns, "Signature") {
				signatures++
				if len(p.open) == 2 {
					from, scope = p.open[1].at, p.open[1].scope
				}
			}
		case k == endTag && len(p.open) == 1 && from >= 0 && part.xml == "":
			part = Part{xml: p.s[from:p.i], scope: slices.Clone(p.scope[:scope]), lim: signatureLimits}
		}
		if k == endOfDocument {
			break
		}
	}
	switch {
	case signatures == 0:
		return nil, nil, ErrNoSignature
	case signatures != 1 || part.xml == "":
		return nil, nil, errNotOne
	case len(part.xml) > signatureLimits.Bytes:
		return nil, nil, fmt.Errorf("signature of more than %d bytes: %w", signatureLimits.Bytes, ErrLimit)
	case ids.twice:
		return nil, nil, errTwice
	}
	sig, err = part.Tree()
	return root, sig, err
}

// canonicalText returns the canonical form of a document without its root's Signature.
func canonicalText(s string, lim Limits, list []string) ([]byte, error) {
	p := reader{s: s, lim: lim, eof: true, recycle: true}
	c := canonicalizer{list: list, limit: lim.Bytes, out: make([]byte, 0, len(s)+len(s)/16)}
	within := false
	for {
		k, e, text, err := p.next()
		if err != nil {
			return nil, p.at(err)
		}
		if k == startTag && len(p.open) == 2 && e.Is(ns, "Signature") {
			within = true
		}
		switch {
		case k == endOfDocument:
			return c.out, nil
		case within:
			within = k != endTag || len(p.open) > 1
		case k == startTag:
			c.start(e)
		case k == charData:
			c.text(text)
		case k == endTag:
			c.end(e)
			if err := c.check(); err != nil {
				return nil, err
			}
		}
	}
}

// rereadRoot reads through a canonical form and returns its root, without content.
func rereadRoot(raw []byte, lim Limits) (*Element, error) {
	s, err := prepare(raw, lim)
	if err != nil {
		return nil, err
	}
	p := reader{s: s, lim: lim, eof: true, recycle: true}
	var root *Element
	for {
		k, e, _, err := p.next()
		switch {
		case err != nil:
			return nil, p.at(err)
		case k == startTag && root == nil:
			root = &Element{Space: e.Space, Local: e.Local, attrs: slices.Clone(e.attrs)}
		case k == endOfDocument:
			return root, nil
		}
	}
}

var (
	errNotOne = errors.New("exactly one Signature is allowed, as a child of the root")
	errTwice  = errors.New("an ID occurs twice")
)

// same reports whether two elements have the same name and ID.
func (e *Element) same(other *Element) bool {
	id, _ := e.Attr("ID")
	otherID, _ := other.Attr("ID")
	return e.Is(other.Space, other.Local) && id == otherID
}

// identifiers notes whether two elements have the same identifier, in any spelling of ID.
type identifiers struct {
	seen  map[string]bool
	twice bool
}

func (ids *identifiers) add(e *Element) {
	for _, a := range e.attrs {
		if strings.EqualFold(a.Local, "id") {
			if ids.seen == nil {
				ids.seen = map[string]bool{}
			}
			ids.twice = ids.twice || ids.seen[a.Value]
			ids.seen[a.Value] = true
		}
	}
}

// verifySignature verifies a Signature over its SignedInfo by one of the keys, and returns the reference that this makes
// to the root, which needs to have no content here. What the reference says is read from the octets that were verified.
func verifySignature(root, sig *Element, keys []crypto.PublicKey, opts options) (reference, error) {
	if len(keys) == 0 {
		return reference{}, errors.New("no key to verify with")
	}
	id, ok := root.Attr("ID")
	if !ok || !IsNCName(id) {
		return reference{}, errors.New("the root has no proper ID")
	}
	// Signature: SignedInfo, SignatureValue, perhaps KeyInfo, and nothing else.
	parts, err := sequence(sig, "SignedInfo", "SignatureValue", "KeyInfo?")
	if err != nil {
		return reference{}, err
	}
	value, err := base64Text(parts[1])
	if err != nil {
		return reference{}, err
	}
	if len(value) == 0 {
		return reference{}, errors.New("SignatureValue is empty")
	}
	if _, err := readSignedInfo(parts[0], id, opts); err != nil {
		return reference{}, err
	}
	octets, err := canonical(parts[0], nil, nil, infoLimits.Bytes)
	if err != nil {
		return reference{}, fmt.Errorf("SignedInfo: %w", err)
	}
	info, err := Read(octets, infoLimits)
	if err != nil {
		return reference{}, fmt.Errorf("SignedInfo: %w", err)
	}
	ref, err := readSignedInfo(info, id, opts)
	if err != nil {
		return reference{}, err
	}
	return ref, ref.method.verifyAny(keys, octets, value)
}

// infoLimits bound a SignedInfo, which has some 20 nodes and 1 KB.
var infoLimits = Limits{Bytes: 16 << 10, Depth: 8, Attributes: 16, Nodes: 100}

// reference is what a SignedInfo says of the one thing that is signed, and how SignedInfo itself is signed.
type reference struct {
	method     method
	hash       crypto.Hash
	digest     []byte
	prefixList []string
}

// readSignedInfo reads a SignedInfo that has one reference, to this ID.
func readSignedInfo(e *Element, id string, opts options) (reference, error) {
	var r reference
	if !e.Is(ns, "SignedInfo") {
		return r, errors.New("no SignedInfo")
	}
	info, err := sequence(e, "CanonicalizationMethod", "SignatureMethod", "Reference")
	if err != nil {
		return r, err
	}
	if alg, _ := info[0].Attr("Algorithm"); alg != algExcC14N || len(info[0].Elements()) > 0 {
		return r, fmt.Errorf("canonicalization %q; only plain exclusive canonicalization is allowed", alg)
	}
	alg, _ := info[1].Attr("Algorithm")
	ok := false
	if r.method, ok = opts.method(alg); !ok || len(info[1].Elements()) > 0 {
		return r, fmt.Errorf("signature algorithm %q is not allowed", alg)
	}
	if uri, _ := info[2].Attr("URI"); uri != "#"+id {
		return r, errors.New("the reference is not to the root's ID")
	}
	parts, err := sequence(info[2], "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return r, err
	}
	transforms, err := sequence(parts[0], "Transform", "Transform")
	if err != nil {
		return r, err
	}
	if alg, _ := transforms[0].Attr("Algorithm"); alg != algEnveloped || len(transforms[0].Elements()) > 0 {
		return r, errors.New("the first transform is not enveloped-signature")
	}
	if alg, _ := transforms[1].Attr("Algorithm"); alg != algExcC14N {
		return r, errors.New("the second transform is not exclusive canonicalization")
	}
	if r.prefixList, err = prefixList(transforms[1]); err != nil {
		return r, err
	}
	alg, _ = parts[1].Attr("Algorithm")
	if r.hash, ok = opts.digest(alg); !ok || len(parts[1].Elements()) > 0 {
		return r, fmt.Errorf("digest algorithm %q is not allowed", alg)
	}
	if r.digest, err = base64Text(parts[2]); err != nil {
		return r, err
	}
	if len(r.digest) != r.hash.Size() {
		return r, errors.New("DigestValue has the wrong length")
	}
	return r, nil
}

// check compares the digest of what the reference's transforms gave.
func (r reference) check(octets []byte) error {
	if len(octets) == 0 {
		return errors.New("canonicalization gave nothing")
	}
	h := r.hash.New()
	h.Write(octets)
	if subtle.ConstantTimeCompare(h.Sum(nil), r.digest) != 1 {
		return errors.New("the digest of what is signed is another one")
	}
	return nil
}

// sequence returns e's children if they are exactly these elements of the signature namespace in this order, with
// nothing but white space between; a name ending in "?" may be absent.
func sequence(e *Element, names ...string) ([]*Element, error) {
	if e.text || e.comment {
		return nil, fmt.Errorf("text or comment within %s", e.Local)
	}
	children := e.Elements()
	all := children
	for _, name := range names {
		name, optional := strings.CutSuffix(name, "?")
		switch {
		case len(children) > 0 && children[0].Is(ns, name):
			children = children[1:]
		case !optional:
			return nil, fmt.Errorf("%s lacks %s in its place", e.Local, name)
		}
	}
	if len(children) > 0 {
		return nil, fmt.Errorf("%s holds an unexpected or repeated %s", e.Local, children[0].Local)
	}
	return all, nil
}

// prefixList reads the InclusiveNamespaces of an exclusive canonicalization, if there is one.
func prefixList(transform *Element) ([]string, error) {
	children := transform.Elements()
	if len(children) == 0 {
		return nil, nil
	}
	if len(children) > 1 || !children[0].Is(algExcC14N, "InclusiveNamespaces") || len(children[0].Elements()) > 0 {
		return nil, errors.New("unexpected content of a Transform")
	}
	text, _ := children[0].Attr("PrefixList")
	list := strings.Fields(text)
	for i, prefix := range list {
		if prefix == "#default" { // xml-exc-c14n §3: what no prefix means; ruby-saml sends it
			list[i] = ""
		}
	}
	if len(list) > maxScope || slices.ContainsFunc(list, func(prefix string) bool { return prefix != "" && !IsNCName(prefix) }) {
		return nil, errors.New("unsupported PrefixList")
	}
	return list, nil
}

// base64Text decodes an element that holds a single text node.
func base64Text(e *Element) ([]byte, error) {
	text, err := e.Text()
	if err != nil {
		return nil, err
	}
	b, err := base64.StdEncoding.Strict().DecodeString(strings.Map(func(r rune) rune {
		if r == ' ' || r == '\n' || r == '\t' || r == '\r' {
			return -1
		}
		return r
	}, text))
	if err != nil {
		return nil, fmt.Errorf("%s is not base64", e.Local)
	}
	return b, nil
}

// Accepts reports whether signatures of this algorithm are verified at all.
func Accepts(algorithm string, opts ...Option) bool {
	_, ok := optionsOf(opts).method(algorithm)
	return ok
}

// VerifyDetached checks a signature over bytes, as the HTTP-Redirect binding uses it, by one of the keys. The algorithm
// is one of the constants of this package.
func VerifyDetached(algorithm string, octets, signature []byte, keys []crypto.PublicKey, opts ...Option) error {
	m, ok := optionsOf(opts).method(algorithm)
	if !ok {
		return fmt.Errorf("xmldsig: signature algorithm %q is not allowed", algorithm)
	}
	if err := m.verifyAny(keys, octets, signature); err != nil {
		return fmt.Errorf("xmldsig: %w", err)
	}
	return nil
}
