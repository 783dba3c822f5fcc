package keys_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey-idp/latchkey/internal/keys"
)

func sealer(t testing.TB, b byte) *keys.Sealer {
	t.Helper()
	s, err := keys.NewSealer(append(bytes.Repeat([]byte{b}, keys.MasterKeySize-1), 7))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealOpens(t *testing.T) {
	s := sealer(t, 1)
	for _, plain := range [][]byte{{}, []byte("token"), bytes.Repeat([]byte{0xff, 0}, 5000)} {
		one, err := s.Seal(plain, "scim_integrations/1/token")
		if err != nil {
			t.Fatal(err)
		}
		two, err := s.Seal(plain, "scim_integrations/1/token")
		if err != nil {
			t.Fatal(err)
		}
		if one == two {
			t.Error("the same secret sealed twice must not look the same")
		}
		if len(plain) > 0 && strings.Contains(one, string(plain)) {
			t.Error("the sealed text holds the secret")
		}
		if !strings.HasPrefix(one, "v1."+s.KeyID()+".") {
			t.Errorf("a sealed text names its key: %s", one)
		}
		got, err := s.Open(one, "scim_integrations/1/token")
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Open = %q, %v; want %q", got, err, plain)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	s := sealer(t, 1)
	sealed, err := s.Seal([]byte("secret"), "scim_integrations/1/token")
	if err != nil {
		t.Fatal(err)
	}
	head, body := sealed[:strings.LastIndex(sealed, ".")+1], sealed[strings.LastIndex(sealed, ".")+1:]
	flip := []byte(body)
	flip[len(flip)/2] ^= 1
	cases := map[string]struct {
		sealer      *keys.Sealer
		sealed, aad string
	}{
		"another row":          {s, sealed, "scim_integrations/2/token"},
		"another column":       {s, sealed, "scim_integrations/1/base_url"},
		"no place":             {s, sealed, ""},
		"another master key":   {sealer(t, 2), sealed, "scim_integrations/1/token"},
		"changed":              {s, head + string(flip), "scim_integrations/1/token"},
		"cut":                  {s, sealed[:len(sealed)-2], "scim_integrations/1/token"},
		"longer":               {s, sealed + "AA", "scim_integrations/1/token"},
		"too short for nonce":  {s, head + "AAAA", "scim_integrations/1/token"},
		"not base64":           {s, head + "!!!!", "scim_integrations/1/token"},
		"another version":      {s, "v2" + sealed[2:], "scim_integrations/1/token"},
		"another key id":       {s, "v1.00000000." + body, "scim_integrations/1/token"},
		"empty":                {s, "", "scim_integrations/1/token"},
		"a secret left unseal": {s, "plain-token", "scim_integrations/1/token"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := c.sealer.Open(c.sealed, c.aad)
			if !errors.Is(err, keys.ErrSealed) || got != nil {
				t.Fatalf("Open = %q, %v; want ErrSealed", got, err)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "plain-token") {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

func TestNewSealerWantsAWholeKey(t *testing.T) {
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := keys.NewSealer(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes was taken", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, 1)
	sealed, err := s.Seal([]byte("secret"), "a/b/c")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{sealed, "", "v1..", "v1." + s.KeyID() + ".", sealed[:20]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := s.Open(text, "a/b/c")
		if err == nil && (text != sealed || string(got) != "secret") {
			t.Fatalf("%q opened as %q", text, got)
		}
	})
}

func TestLoadMasterKey(t *testing.T) {
	const hexKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	const base64Key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	write := func(content string, mode os.FileMode) func(*testing.T) string {
		return func(t *testing.T) string {
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(content), mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	none := func(t *testing.T) string { return filepath.Join(t.TempDir(), "deep", "master.key") }
	cases := map[string]struct {
		value   keys.Secret
		path    func(*testing.T) string
		created bool
		want    string // part of the error
	}{
		"value in hexadecimal":       {value: hexKey, path: none},
		"value in base64":            {value: base64Key + "\n", path: none},
		"value in base64, unpadded":  {value: keys.Secret(strings.TrimRight(base64Key, "=")), path: none},
		"value wins over the file":   {value: hexKey, path: write("rubbish", 0o600)},
		"value too short":            {value: "0011", path: none, want: "32 random bytes"},
		"value of one byte repeated": {value: keys.Secret(strings.Repeat("ab", 32)), path: none, want: "over and over"},
		"file in hexadecimal":        {path: write(hexKey+"\n", 0o600)},
		"file in base64":             {path: write(base64Key, 0o400)},
		"file is created":            {path: none, created: true},
		"group may read the file":    {path: write(hexKey, 0o640), want: "chmod 600"},
		"world may read the file":    {path: write(hexKey, 0o604), want: "chmod 600"},
		"file is empty":              {path: write("", 0o600), want: "empty"},
		"file holds something else":  {path: write("correct horse battery staple", 0o600), want: "32 random bytes"},
		"path is a folder":           {path: func(t *testing.T) string { return t.TempDir() }, want: "regular file"},
		"nothing is set":             {path: func(*testing.T) string { return "" }, want: "neither"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			path := c.path(t)
			key, created, err := keys.LoadMasterKey(c.value, path)
			if c.want != "" {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("error %v; want one about %q", err, c.want)
				}
				if strings.Contains(err.Error(), "battery") || strings.Contains(err.Error(), "0011") {
					t.Errorf("the error shows the key: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(key) != keys.MasterKeySize || created != c.created {
				t.Errorf("%d bytes, created %v; want %d, %v", len(key), created, keys.MasterKeySize, c.created)
			}
			if !c.created {
				return
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("the file has mode %o", info.Mode().Perm())
			}
			again, created, err := keys.LoadMasterKey("", path)
			if err != nil || created || !bytes.Equal(again, key) {
				t.Errorf("read again: %v, created %v, same %v", err, created, bytes.Equal(again, key))
			}
			left, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(left) != 1 {
				t.Errorf("%d files are left in the folder: %v", len(left), err)
			}
		})
	}
}

func TestMasterKeyIsMadeOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master.key")
	const n = 8
	var wg sync.WaitGroup
	got := make([][]byte, n)
	made := make([]bool, n)
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { got[i], made[i], errs[i] = keys.LoadMasterKey("", path) })
	}
	wg.Wait()
	makers := 0
	for i := range n {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if !bytes.Equal(got[i], got[0]) {
			t.Error("two programs that start together have different keys")
		}
		if made[i] {
			makers++
		}
	}
	if makers != 1 {
		t.Errorf("%d made the key; want one", makers)
	}
}
