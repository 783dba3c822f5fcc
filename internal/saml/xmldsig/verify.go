package xmldsig

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/beevik/etree"
	dsig "github.com/russellhaering/goxmldsig"
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
	if len(keys) == 0 {
		return Verified{}, errors.New("no key to verify with")
	}
	sh, err := checkShape(root, opts)
	if err != nil {
		return Verified{}, err
	}
	if err := checkIDs(root); err != nil {
		return Verified{}, err
	}
	err = errors.New("no key of the type that the algorithm needs")
	for _, key := range keys {
		if CheckKey(key) != nil || !sh.method.fits(key) {
			continue
		}
		var raw []byte
		if raw, err = verifyWith(root, sh, key); err != nil {
			continue
		}
		again, err := Read(raw, lim)
		if err != nil {
			return Verified{}, fmt.Errorf("what is signed can't be read: %w", err)
		}
		if id, _ := again.Attr("ID"); !again.Is(root.Space, root.Local) || id != sh.id {
			return Verified{}, errors.New("another element is signed")
		}
		return Verified{raw: raw, root: again}, nil
	}
	return Verified{}, err
}

// shape is what the checked Signature says.
type shape struct {
	id         string
	method     method
	hash       crypto.Hash
	digest     []byte
	value      []byte
	prefixList string
}

func checkShape(root *Element, opts options) (shape, error) {
	var sh shape
	signatures := 0
	root.All(func(e *Element) bool {
		if e.Is(ns, "Signature") {
			signatures++
		}
		return true
	})
	sig, found, err := root.Child(ns, "Signature")
	if err != nil || signatures != 1 || !found {
		return sh, errors.New("exactly one Signature is allowed, as a child of the root")
	}
	ok := false
	if sh.id, ok = root.Attr("ID"); !ok || !IsNCName(sh.id) {
		return sh, errors.New("the root has no proper ID")
	}

	// Signature: SignedInfo, SignatureValue, perhaps KeyInfo, and nothing else.
	parts, err := sequence(sig, "SignedInfo", "SignatureValue", "KeyInfo?")
	if err != nil {
		return sh, err
	}
	info, err := sequence(parts[0], "CanonicalizationMethod", "SignatureMethod", "Reference")
	if err != nil {
		return sh, err
	}
	if alg, _ := info[0].Attr("Algorithm"); alg != algExcC14N || len(info[0].Elements()) > 0 {
		return sh, fmt.Errorf("canonicalization %q; only plain exclusive canonicalization is allowed", alg)
	}
	alg, _ := info[1].Attr("Algorithm")
	if sh.method, ok = opts.method(alg); !ok || len(info[1].Elements()) > 0 {
		return sh, fmt.Errorf("signature algorithm %q is not allowed", alg)
	}
	ref := info[2]
	if uri, _ := ref.Attr("URI"); uri != "#"+sh.id {
		return sh, errors.New("the reference is not to the root's ID")
	}
	refs, err := sequence(ref, "Transforms", "DigestMethod", "DigestValue")
	if err != nil {
		return sh, err
	}
	transforms, err := sequence(refs[0], "Transform", "Transform")
	if err != nil {
		return sh, err
	}
	if alg, _ := transforms[0].Attr("Algorithm"); alg != algEnveloped || len(transforms[0].Elements()) > 0 {
		return sh, errors.New("the first transform is not enveloped-signature")
	}
	if alg, _ := transforms[1].Attr("Algorithm"); alg != algExcC14N {
		return sh, errors.New("the second transform is not exclusive canonicalization")
	}
	if sh.prefixList, err = prefixList(transforms[1]); err != nil {
		return sh, err
	}
	alg, _ = refs[1].Attr("Algorithm")
	if sh.hash, ok = opts.digest(alg); !ok || len(refs[1].Elements()) > 0 {
		return sh, fmt.Errorf("digest algorithm %q is not allowed", alg)
	}
	if sh.digest, err = base64Text(refs[2]); err != nil {
		return sh, err
	}
	if len(sh.digest) != sh.hash.Size() {
		return sh, errors.New("DigestValue has the wrong length")
	}
	if sh.value, err = base64Text(parts[1]); err != nil {
		return sh, err
	}
	if len(sh.value) == 0 {
		return sh, errors.New("SignatureValue is empty")
	}
	return sh, nil
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
func prefixList(transform *Element) (string, error) {
	children := transform.Elements()
	if len(children) == 0 {
		return "", nil
	}
	if len(children) > 1 || !children[0].Is(algExcC14N, "InclusiveNamespaces") || len(children[0].Elements()) > 0 {
		return "", errors.New("unexpected content of a Transform")
	}
	list, _ := children[0].Attr("PrefixList")
	for prefix := range strings.FieldsSeq(list) {
		if !IsNCName(prefix) {
			return "", errors.New("unsupported PrefixList")
		}
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

// checkIDs refuses a document in which two elements have the same identifier, in any spelling of ID.
func checkIDs(root *Element) error {
	seen := map[string]bool{}
	twice := false
	root.All(func(e *Element) bool {
		for _, a := range e.attrs {
			if strings.EqualFold(a.Local, "id") {
				twice = twice || seen[a.Value]
				seen[a.Value] = true
			}
		}
		return !twice
	})
	if twice {
		return errors.New("an ID occurs twice")
	}
	return nil
}

// verifyWith lets goxmldsig verify the document with one key, and then checks that what it returns is what was signed.
func verifyWith(root *Element, sh shape, key crypto.PublicKey) ([]byte, error) {
	tree := sh.tree(root, key)
	ctx := dsig.NewDefaultValidationContext(&dsig.MemoryX509CertificateStore{Roots: []*x509.Certificate{carrier(key, sh.method)}})
	ctx.Clock = dsig.NewFakeClockAt(time.Time{}) // the carrier's dates are zero too: dates don't count
	verified, err := ctx.Validate(tree)
	if err != nil {
		return nil, err
	}
	if verified == nil {
		return nil, errors.New("nothing is signed")
	}
	raw, err := dsig.MakeC14N10ExclusiveCanonicalizerWithPrefixList(sh.prefixList).Canonicalize(verified)
	if err != nil {
		return nil, fmt.Errorf("canonicalization: %w", err)
	}
	if len(raw) == 0 {
		return nil, errors.New("canonicalization gave nothing")
	}
	h := sh.hash.New()
	h.Write(raw)
	if subtle.ConstantTimeCompare(h.Sum(nil), sh.digest) != 1 {
		return nil, errors.New("what was verified has another digest")
	}
	return raw, nil
}

// tree builds the document for goxmldsig from what Read accepted, so that no second parser sees the input. KeyInfo is
// left out, and the values are written in the form that goxmldsig takes.
func (sh shape) tree(root *Element, key crypto.PublicKey) *etree.Element {
	value := sh.value
	if ec, ok := key.(*ecdsa.PublicKey); ok {
		if der, err := ecdsaToDER(ec, value); err == nil {
			value = der
		} else {
			value = []byte{0} // verifies never
		}
	}
	var build func(e *Element) *etree.Element
	build = func(e *Element) *etree.Element {
		out := &etree.Element{Space: e.prefix, Tag: e.Local}
		for _, d := range e.declares {
			if d.prefix == "" {
				out.Attr = append(out.Attr, etree.Attr{Key: "xmlns", Value: d.uri})
			} else {
				out.Attr = append(out.Attr, etree.Attr{Space: "xmlns", Key: d.prefix, Value: d.uri})
			}
		}
		for _, a := range e.attrs {
			out.Attr = append(out.Attr, etree.Attr{Space: a.prefix, Key: a.Local, Value: a.Value})
		}
		if e.Is(ns, "SignatureValue") {
			out.CreateText(base64.StdEncoding.EncodeToString(value))
			return out
		}
		for _, n := range e.content {
			switch {
			case n.element == nil:
				out.CreateText(n.text)
			case e.Is(ns, "Signature") && n.element.Is(ns, "KeyInfo"):
			default:
				out.AddChild(build(n.element))
			}
		}
		return out
	}
	return build(root)
}

// VerifyDetached checks a signature over bytes, as the HTTP-Redirect binding uses it, by one of the keys. The algorithm
// is one of the constants of this package.
func VerifyDetached(algorithm string, octets, signature []byte, keys []crypto.PublicKey, opts ...Option) error {
	m, ok := optionsOf(opts).method(algorithm)
	if !ok {
		return fmt.Errorf("xmldsig: signature algorithm %q is not allowed", algorithm)
	}
	h := m.hash.New()
	h.Write(octets)
	digest := h.Sum(nil)
	for _, key := range keys {
		if CheckKey(key) == nil && m.fits(key) && len(signature) > 0 && m.verify(key, digest, signature) {
			return nil
		}
	}
	return errors.New("xmldsig: the signature does not verify with a known key")
}
