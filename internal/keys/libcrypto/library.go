//go:build (linux || darwin) && (amd64 || arm64) && !nolibcrypto

package libcrypto

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/ebitengine/purego"
)

// names are where the library is looked for, by the rules of the system's loader: those without a slash in its
// configured folders, and in LD_LIBRARY_PATH. Never without a version: macOS ends programs that load that.
func names() []string {
	if runtime.GOOS == "darwin" {
		return []string{
			"libcrypto.3.dylib", "/opt/homebrew/opt/openssl@3/lib/libcrypto.3.dylib",
			"/usr/local/opt/openssl@3/lib/libcrypto.3.dylib", "/opt/local/libexec/openssl3/lib/libcrypto.3.dylib",
		}
	}
	return []string{"libcrypto.so.3"}
}

// Library is a loaded libcrypto. It is safe for concurrent use. It stays loaded as long as the program runs.
type Library struct {
	version string
	fn      functions
	digests [4]uintptr // EVP_MD by the index of hashes

	// Foreign objects that are held now.
	pkeys, contexts atomic.Int64
}

// functions are addresses of foreign functions, by their names.
type functions struct {
	OpenSSL_version_num, OpenSSL_version, OPENSSL_init_crypto,
	ERR_peek_last_error, ERR_error_string_n, ERR_clear_error,
	EVP_sha1, EVP_sha256, EVP_sha384, EVP_sha512,
	d2i_PrivateKey, EVP_PKEY_get_size, EVP_PKEY_free,
	EVP_PKEY_CTX_new, EVP_PKEY_CTX_free, EVP_PKEY_sign_init, EVP_PKEY_CTX_set_rsa_padding,
	EVP_PKEY_CTX_set_signature_md, EVP_PKEY_sign uintptr
}

// Constants of OpenSSL's headers.
const (
	initNoAtExit = 0x00080000 // OPENSSL_INIT_NO_ATEXIT
	evpRSA       = 6          // EVP_PKEY_RSA
	paddingPKCS1 = 1          // RSA_PKCS1_PADDING
)

// Load loads the library and tests it. The error says why there is none that can be used: it is absent, too old, or
// failed the test. Loading twice shares the foreign library.
func Load() (*Library, error) { return load(names()...) }

func load(from ...string) (*Library, error) {
	var handle uintptr
	var errs []error
	for _, name := range from {
		h, err := purego.Dlopen(name, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err == nil {
			handle = h
			break
		}
		errs = append(errs, err)
	}
	if handle == 0 {
		return nil, fmt.Errorf("libcrypto: not found: %w", errors.Join(errs...))
	}
	l := &Library{}
	if err := l.open(handle); err != nil {
		_ = purego.Dlclose(handle) // of no use, as the error says
		return nil, err
	}
	// From here on it must not be unloaded: its threads' data are freed by its code.
	if err := l.selfTest(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Library) open(handle uintptr) error {
	f := &l.fn
	for name, at := range map[string]*uintptr{
		"OpenSSL_version_num": &f.OpenSSL_version_num, "OpenSSL_version": &f.OpenSSL_version, "OPENSSL_init_crypto": &f.OPENSSL_init_crypto,
		"ERR_peek_last_error": &f.ERR_peek_last_error, "ERR_error_string_n": &f.ERR_error_string_n, "ERR_clear_error": &f.ERR_clear_error,
		"EVP_sha1": &f.EVP_sha1, "EVP_sha256": &f.EVP_sha256, "EVP_sha384": &f.EVP_sha384, "EVP_sha512": &f.EVP_sha512,
		"d2i_PrivateKey": &f.d2i_PrivateKey, "EVP_PKEY_get_size": &f.EVP_PKEY_get_size, "EVP_PKEY_free": &f.EVP_PKEY_free,
		"EVP_PKEY_CTX_new": &f.EVP_PKEY_CTX_new, "EVP_PKEY_CTX_free": &f.EVP_PKEY_CTX_free, "EVP_PKEY_sign_init": &f.EVP_PKEY_sign_init,
		"EVP_PKEY_CTX_set_rsa_padding": &f.EVP_PKEY_CTX_set_rsa_padding, "EVP_PKEY_CTX_set_signature_md": &f.EVP_PKEY_CTX_set_signature_md,
		"EVP_PKEY_sign": &f.EVP_PKEY_sign,
	} {
		var err error
		if *at, err = purego.Dlsym(handle, name); err != nil || *at == 0 {
			return fmt.Errorf("libcrypto: not OpenSSL 3: %w", errors.Join(errors.New("no "+name), err))
		}
	}
	if n, _, _ := purego.SyscallN(f.OpenSSL_version_num); n < 0x30000000 {
		return fmt.Errorf("libcrypto: version %#x is too old", n)
	}
	p, _, _ := purego.SyscallN(f.OpenSSL_version, 0)
	l.version = text(p)
	// Without handlers at exit: threads may still sign then.
	if ok, _, _ := purego.SyscallN(f.OPENSSL_init_crypto, initNoAtExit, 0); int32(ok) != 1 {
		return errors.New("libcrypto: it can't be initialized")
	}
	for i, make := range []uintptr{f.EVP_sha1, f.EVP_sha256, f.EVP_sha384, f.EVP_sha512} {
		if l.digests[i], _, _ = purego.SyscallN(make); l.digests[i] == 0 {
			return fmt.Errorf("libcrypto: no %v", hashes[i])
		}
	}
	return nil
}

// text copies a foreign text that ends with a zero byte.
func text(p uintptr) string {
	if p == 0 {
		return "an unknown version"
	}
	var b strings.Builder
	for i := range 256 {
		c := *(*byte)(unsafe.Add(*(*unsafe.Pointer)(unsafe.Pointer(&p)), i)) //nolint:gosec // a C text, read up to its end
		if c == 0 {
			break
		}
		b.WriteByte(c)
	}
	return b.String()
}

// Version is what the library calls itself, for example "OpenSSL 3.0.19 27 Jan 2026".
func (l *Library) Version() string { return l.version }

// failed says what the last call on this thread complained of, and clears the thread's errors, which the library keeps
// until then. The thread must be locked since that call.
func (l *Library) failed(what string) error {
	code, _, _ := purego.SyscallN(l.fn.ERR_peek_last_error)
	buf := make([]byte, 256)
	purego.SyscallN(l.fn.ERR_error_string_n, code, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf))) //nolint:gosec // a foreign call
	purego.SyscallN(l.fn.ERR_clear_error)
	message, _, _ := strings.Cut(string(buf), "\x00")
	return fmt.Errorf("libcrypto: %s: %s", what, message)
}

// Signer signs with one RSA key. It implements crypto.Signer and is safe for concurrent use; each signature keeps a thread
// in foreign code, so it is for the caller to bound how many are made at once. Its foreign memory is
// freed, and the key in it overwritten, once nobody holds the Signer any more.
type Signer struct {
	lib *Library
	key *rsa.PrivateKey // signs what the library doesn't
	mem *memory
}

// memory is what a Signer holds of the library's.
type memory struct {
	lib  *Library
	pkey uintptr
	size int

	mu     sync.Mutex
	closed bool
	// free are contexts that wait for the next signature, by the index of hashes: making one takes longer than all that
	// is done around a signature otherwise. There are never more than signatures were made at once.
	free [4][]uintptr
}

// Signer makes a key ready to sign.
func (l *Library) Signer(key *rsa.PrivateKey) (*Signer, error) {
	var pkey uintptr
	if err := withDER(key, func(der []byte) (err error) {
		pkey, err = l.readKey(der)
		return err
	}); err != nil {
		return nil, err
	}
	l.pkeys.Add(1)
	m := &memory{lib: l, pkey: pkey}
	size, _, _ := purego.SyscallN(l.fn.EVP_PKEY_get_size, pkey)
	if m.size = int(int32(size)); m.size != key.Size() {
		m.release()
		return nil, fmt.Errorf("libcrypto: signatures of %d bytes from a key of %d bits", m.size, key.N.BitLen())
	}
	s := &Signer{lib: l, key: key, mem: m}
	runtime.AddCleanup(s, (*memory).release, m)
	return s, nil
}

// withDER hands out the key as PKCS#1, and overwrites that afterwards.
func withDER(key *rsa.PrivateKey, use func(der []byte) error) error {
	der := x509.MarshalPKCS1PrivateKey(key)
	defer clear(der)
	return use(der)
}

// readKey makes an EVP_PKEY of a key in PKCS#1.
func (l *Library) readKey(der []byte) (uintptr, error) {
	if len(der) == 0 {
		return 0, errors.New("libcrypto: no key")
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&der[0])
	// The library moves it on as it reads.
	at := uintptr(unsafe.Pointer(&der[0])) //nolint:gosec // pinned
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pkey, _, _ := purego.SyscallN(l.fn.d2i_PrivateKey, evpRSA, 0, uintptr(unsafe.Pointer(&at)), uintptr(len(der))) //nolint:gosec // SyscallN keeps it where it is
	if pkey == 0 {
		return 0, l.failed("read the key")
	}
	purego.SyscallN(l.fn.ERR_clear_error) // it tries several forms, and notes which ones it wasn't
	return pkey, nil
}

// Public returns the public key.
func (s *Signer) Public() crypto.PublicKey { return s.key.Public() }

// Close frees the foreign memory at once. Go signs from then on.
func (s *Signer) Close() { s.mem.release() }

// Sign makes the signature that rsa.PrivateKey would make. With PKCS#1 v1.5 and SHA-1, 256, 384 or 512 the library does
// it; with all else, and should the library fail, Go.
func (s *Signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if _, pss := opts.(*rsa.PSSOptions); !pss {
		if sig, err := s.foreign(digest, opts.HashFunc()); err == nil {
			return sig, nil
		}
	}
	return s.key.Sign(rand, digest, opts)
}

var errNotForUs = errors.New("libcrypto: only PKCS#1 v1.5 signatures with SHA-1, 256, 384 and 512 are made here")

// foreign has the library sign.
func (s *Signer) foreign(digest []byte, hash crypto.Hash) ([]byte, error) {
	i := slices.Index(hashes[:], hash)
	if i < 0 || len(digest) != hash.Size() {
		return nil, errNotForUs
	}
	defer runtime.KeepAlive(s) // or its memory may be freed meanwhile
	ctx, err := s.mem.take(i)
	if err != nil {
		return nil, err
	}
	sig := make([]byte, s.mem.size)
	// Not on a locked thread: coming back to a certain one costs two switches when all are busy.
	if s.lib.sign(ctx, sig, digest) {
		s.mem.give(i, ctx)
		return sig, nil
	}
	s.mem.drop(ctx)
	return nil, s.mem.explain(i, sig, digest)
}

func (l *Library) sign(ctx uintptr, sig, digest []byte) bool {
	n := uintptr(len(sig))
	ok, _, _ := purego.SyscallN(l.fn.EVP_PKEY_sign, ctx,
		uintptr(unsafe.Pointer(&sig[0])), uintptr(unsafe.Pointer(&n)), //nolint:gosec // SyscallN keeps them where they are
		uintptr(unsafe.Pointer(&digest[0])), uintptr(len(digest))) //nolint:gosec // as above
	return int32(ok) == 1 && n == uintptr(len(sig))
}

// explain repeats a signature that failed, on a thread whose errors it can read.
func (m *memory) explain(i int, sig, digest []byte) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ctx, err := m.take(i)
	if err != nil {
		return err
	}
	defer m.drop(ctx)
	m.lib.sign(ctx, sig, digest)
	return m.lib.failed("sign")
}

// take returns a context that signs with the hash of that index.
func (m *memory) take(i int) (uintptr, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return 0, errors.New("libcrypto: the signer is closed")
	}
	if n := len(m.free[i]); n > 0 {
		ctx := m.free[i][n-1]
		m.free[i] = m.free[i][:n-1]
		return ctx, nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	f := &m.lib.fn
	ctx, _, _ := purego.SyscallN(f.EVP_PKEY_CTX_new, m.pkey, 0)
	if ctx == 0 {
		return 0, m.lib.failed("make a context")
	}
	m.lib.contexts.Add(1)
	what := ""
	if ok, _, _ := purego.SyscallN(f.EVP_PKEY_sign_init, ctx); int32(ok) != 1 {
		what = "begin to sign"
	} else if ok, _, _ := purego.SyscallN(f.EVP_PKEY_CTX_set_rsa_padding, ctx, paddingPKCS1); int32(ok) != 1 {
		what = "set the padding"
	} else if ok, _, _ := purego.SyscallN(f.EVP_PKEY_CTX_set_signature_md, ctx, m.lib.digests[i]); int32(ok) != 1 {
		what = "set the hash"
	}
	if what != "" {
		err := m.lib.failed(what)
		m.drop(ctx)
		return 0, err
	}
	return ctx, nil
}

// give keeps a context for the next signature.
func (m *memory) give(i int, ctx uintptr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		m.drop(ctx)
		return
	}
	m.free[i] = append(m.free[i], ctx)
}

func (m *memory) drop(ctx uintptr) {
	purego.SyscallN(m.lib.fn.EVP_PKEY_CTX_free, ctx)
	m.lib.contexts.Add(-1)
}

// release frees all that isn't in use. A signature under way holds the key by its context, and frees it then.
func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	m.closed = true
	for i := range m.free {
		for _, ctx := range m.free[i] {
			m.drop(ctx)
		}
		m.free[i] = nil
	}
	purego.SyscallN(m.lib.fn.EVP_PKEY_free, m.pkey)
	m.lib.pkeys.Add(-1)
}
