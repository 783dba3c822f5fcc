package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// simpleSAMLphp is SimpleSAMLphp as service provider, in PHP's own web server. It is scripted with its own endpoints.
type simpleSAMLphp struct {
	scripted
}

func newSimpleSAMLphp() provider {
	s := &simpleSAMLphp{scripted{title: "SimpleSAMLphp", ver: debian("simplesamlphp")}}
	s.command = func(l *lab) []string {
		return []string{"php", "-d", "display_errors=0", "-S", s.base[len("http://"):], "-t", "/usr/share/simplesamlphp/www", filepath.Join(l.root, "php", "router.php")}
	}
	return s
}

func (s *simpleSAMLphp) configure(ctx context.Context, set settings, idp idpSide) error {
	dir := filepath.Join(s.lab.dir, s.lab.slug)
	if s.run == nil {
		if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
			return err
		}
		for _, name := range []string{"config.php", "authsources.php"} {
			text, err := os.ReadFile(filepath.Join(s.lab.root, "php", name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				return err
			}
		}
		s.file = filepath.Join(dir, "settings.json")
		s.env = []string{"SIMPLESAMLPHP_CONFIG_DIR=" + dir, "INTEROP_SETTINGS=" + s.file, "PHP_CLI_SERVER_WORKERS=2"}
	}
	md, err := os.ReadFile(idp.Metadata)
	if err != nil {
		return err
	}
	if set.Binding == "post" {
		// It prefers Redirect where our metadata offers both.
		if md, err = withoutRedirectSSO(md); err != nil {
			return err
		}
	}
	idp.Metadata = filepath.Join(dir, "idp.xml")
	return errors.Join(os.WriteFile(idp.Metadata, md, 0o644), s.scripted.configure(ctx, set, idp))
}

func (s *simpleSAMLphp) metadata(ctx context.Context) ([]byte, error) {
	return fetch(ctx, s.base+"/module.php/saml/sp/metadata.php/default-sp")
}
