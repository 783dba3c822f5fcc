package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// LoadMasterKey returns the installation's master key. A value (from the environment or a secret store) is 32 bytes in
// hexadecimal or base64 and wins; otherwise the file at path is read, which holds the same. A missing file is created
// with a fresh key, readable only by its owner; created then tells so, for whoever loses that file loses every sealed
// secret. A file that group or others may read is refused.
//
// Programs that start together agree: the file appears at once as a whole, and only one of them makes it.
func LoadMasterKey(value Secret, path string) (key []byte, created bool, err error) {
	if value != "" {
		key, err = decodeMasterKey([]byte(value.Reveal()))
		if err != nil {
			return nil, false, fmt.Errorf("keys: the master key given: %w", err)
		}
		return key, false, nil
	}
	if path == "" {
		return nil, false, errors.New("keys: neither a master key nor a file for it is set")
	}
	key, err = readMasterKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	created, err = createMasterKey(path)
	if err != nil {
		return nil, false, fmt.Errorf("keys: create the master key file: %w", err)
	}
	key, err = readMasterKey(path)
	return key, created, err
}

func readMasterKey(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("keys: open the master key file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("keys: master key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keys: master key file %s is not a regular file", path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("keys: master key file %s may be read or written by others (mode %04o); run: chmod 600 %s", path, mode, path)
	}
	buf := make([]byte, 1024)
	n, err := f.Read(buf)
	if n == 0 {
		return nil, fmt.Errorf("keys: master key file %s is empty or unreadable: %w", path, err)
	}
	key, err := decodeMasterKey(buf[:n])
	if err != nil {
		return nil, fmt.Errorf("keys: master key file %s: %w", path, err)
	}
	return key, nil
}

// createMasterKey writes a new key beside path and links it there, which fails if path exists (like O_EXCL) and never
// shows a half-written file. It reports whether this call made the file.
func createMasterKey(path string) (bool, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	key := make([]byte, MasterKeySize)
	if _, err := rand.Read(key); err != nil {
		return false, err
	}
	temp := filepath.Join(dir, ".master-key-"+rand.Text())
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { _ = os.Remove(temp) }() // the link stays
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(temp, path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	d, err := os.Open(dir)
	if err != nil {
		return false, err
	}
	return true, errors.Join(d.Sync(), d.Close())
}

// decodeMasterKey reads hexadecimal or any base64. The error never holds the text.
func decodeMasterKey(text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	key, err := hex.DecodeString(string(text))
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if err == nil && len(key) == MasterKeySize {
			break
		}
		key, err = enc.DecodeString(string(text))
	}
	if err != nil || len(key) != MasterKeySize {
		return nil, fmt.Errorf("it must be %d random bytes in hexadecimal or base64 (make one with: openssl rand -hex %d)", MasterKeySize, MasterKeySize)
	}
	if bytes.Count(key, key[:1]) == len(key) {
		return nil, errors.New("it is the same byte over and over; make a random one with: openssl rand -hex 32")
	}
	return key, nil
}
