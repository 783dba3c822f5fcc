package server

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/mail"
	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Config is the whole configuration. Each field can be set in the file (YAML, by its yaml
// name), by an environment variable (LATCHKEY_ and its path in capitals) and by a flag; of
// several the flag wins, then the environment. The zero value of a field means what "default"
// says.
type Config struct {
	Listen    string `yaml:"listen" default:"127.0.0.1:8080" env:"LATCHKEY_LISTEN" help:"Address and port to listen on."`
	PublicURL string `yaml:"publicUrl" env:"LATCHKEY_PUBLIC_URL" help:"How people and applications reach Latchkey, for example https://id.example.com. Default: http:// and the listen address."`
	TLSCert   string `yaml:"tlsCert" env:"LATCHKEY_TLS_CERT" help:"PEM file of the TLS certificate chain, to serve https without a proxy."`
	TLSKey    string `yaml:"tlsKey" env:"LATCHKEY_TLS_KEY" help:"PEM file of the TLS private key."`

	TrustedProxies []string `yaml:"trustedProxies" env:"LATCHKEY_TRUSTED_PROXIES" placeholder:"NET" help:"Networks (10.0.0.0/8) or addresses of proxies whose X-Forwarded-For is believed. Default: none."`

	Data     string      `yaml:"data" default:"latchkey-data" env:"LATCHKEY_DATA" help:"Data folder: SQLite database, and the master key unless given otherwise."`
	Postgres keys.Secret `yaml:"postgres" env:"LATCHKEY_POSTGRES" placeholder:"URL" help:"PostgreSQL URL. Set, it replaces SQLite; any number of replicas may share it."`

	MasterKey     keys.Secret `yaml:"masterKey" env:"LATCHKEY_MASTER_KEY" placeholder:"KEY" help:"Master key that seals secrets at rest: 32 bytes, in hex or base64. All replicas need the same."`
	MasterKeyFile string      `yaml:"masterKeyFile" env:"LATCHKEY_MASTER_KEY_FILE" help:"File of the master key, made when missing. Default: master.key in the data folder."`

	Signing string `yaml:"signing" default:"auto" enum:"auto,go,libcrypto" env:"LATCHKEY_SIGNING" help:"Who computes RSA signatures: auto (the libcrypto of OpenSSL 3 if there is one, else Go), go, or libcrypto (refuse to serve without it)."`

	Mail     MailConfig     `yaml:"mail" embed:"" prefix:"mail-" group:"Mail"`
	Session  SessionConfig  `yaml:"session" embed:"" prefix:"session-" group:"Sign-in"`
	Limits   LimitsConfig   `yaml:"limits" embed:"" prefix:"limits-" group:"Limits"`
	Outbound OutboundConfig `yaml:"outbound" embed:"" prefix:"outbound-" group:"Outbound requests"`
	Log      LogConfig      `yaml:"log" embed:"" prefix:"log-" group:"Logging and metrics"`
	Metrics  MetricsConfig  `yaml:"metrics" embed:"" prefix:"metrics-" group:"Logging and metrics"`
}

// MailConfig says how mail is sent. With neither a host nor a folder no mail is sent, and
// administrators hand out one-time links themselves.
type MailConfig struct {
	Host     string      `yaml:"host" env:"LATCHKEY_MAIL_HOST" help:"SMTP server. Without one no mail is sent: one-time links are handed out by administrators."`
	Port     int         `yaml:"port" default:"587" env:"LATCHKEY_MAIL_PORT" help:"SMTP port."`
	Security string      `yaml:"security" default:"auto" enum:"auto,starttls,implicit,none" env:"LATCHKEY_MAIL_SECURITY" help:"How the connection is encrypted: starttls, implicit (TLS from the first byte), none (only for a server on this machine), or auto: implicit on port 465, else starttls."`
	Username string      `yaml:"username" env:"LATCHKEY_MAIL_USERNAME" help:"SMTP user name; without one nobody signs in."`
	Password keys.Secret `yaml:"password" env:"LATCHKEY_MAIL_PASSWORD" help:"SMTP password."`
	From     string      `yaml:"from" env:"LATCHKEY_MAIL_FROM" help:"Sender address."`
	Folder   string      `yaml:"folder" env:"LATCHKEY_MAIL_FOLDER" help:"For development: mail is written into this folder as .eml files instead of being sent."`
}

// smtp is the server; only meaningful with a host.
func (c *MailConfig) smtp() *mail.SMTP {
	port := c.Port
	if port == 0 {
		port = 587
	}
	return &mail.SMTP{Host: c.Host, Port: port, Username: c.Username, Password: c.Password, From: c.From, Security: mail.Security(c.Security)}
}

// sender is how mail is sent; nil if it isn't.
func (c *MailConfig) sender() mail.Sender {
	switch {
	case c.Host != "":
		return c.smtp()
	case c.Folder != "":
		return &mail.Folder{Dir: c.Folder, From: c.From}
	}
	return nil
}

// Where says in words how mail is sent, "" if it isn't: "by smtp.example.org", "into the folder mail".
func (c *MailConfig) Where() string {
	switch {
	case c.Host != "":
		return "by " + c.Host
	case c.Folder != "":
		return "into the folder " + c.Folder
	}
	return ""
}

func (c *MailConfig) check(f *problem.Fields) {
	switch {
	case c.Host != "" && c.Folder != "":
		f.Add("mail.folder", "Give a mail server or a folder, not both.")
	case c.Host != "":
		for _, x := range problem.FieldsOf(c.smtp().Check()) {
			f.Add("mail."+x.Name, "%s", x.Detail)
		}
	case c.Folder != "":
		if c.From == "" {
			c.From = "latchkey@localhost"
		}
		if err := mail.CheckAddress(c.From); err != nil {
			f.Add("mail.from", "%s", problem.Public(err))
		}
	case c.Username != "" || c.Password != "":
		f.Add("mail.host", "Give the mail server that the user name and password are for.")
	}
}

// SessionConfig says how long people stay signed in, and what a password needs.
type SessionConfig struct {
	Idle        time.Duration `yaml:"idle" default:"8h" env:"LATCHKEY_SESSION_IDLE" help:"A session that isn't used ends after this long."`
	Absolute    time.Duration `yaml:"absolute" default:"24h" env:"LATCHKEY_SESSION_ABSOLUTE" help:"A session ends this long after sign-in."`
	MinPassword int           `yaml:"minPassword" default:"12" env:"LATCHKEY_SESSION_MIN_PASSWORD" help:"Least number of characters of a new password."`
}

// LimitsConfig bounds what one client can ask for.
type LimitsConfig struct {
	Account int   `yaml:"account" default:"5" env:"LATCHKEY_LIMITS_ACCOUNT" help:"Wrong passwords for one name from one place in an hour before answers slow down."`
	Network int   `yaml:"network" default:"100" env:"LATCHKEY_LIMITS_NETWORK" help:"Wrong passwords from one network in a quarter of an hour before answers slow down."`
	Hashing int   `yaml:"hashing" default:"0" env:"LATCHKEY_LIMITS_HASHING" help:"Passwords checked at once; each takes 19 MiB. 0: one per processor."`
	Body    int64 `yaml:"body" default:"1048576" env:"LATCHKEY_LIMITS_BODY" help:"Largest request body in bytes, bulk imports apart."`
	Import  int64 `yaml:"import" default:"67108864" env:"LATCHKEY_LIMITS_IMPORT" help:"Largest bulk import in bytes."`
}

// OutboundConfig says where Latchkey may connect to.
type OutboundConfig struct {
	Allow   []string      `yaml:"allow" env:"LATCHKEY_OUTBOUND_ALLOW" placeholder:"NET" help:"Networks or addresses that provisioning may connect to although they are private, loopback or link-local, for example 10.1.2.0/24. Default: none."`
	Timeout time.Duration `yaml:"timeout" default:"30s" env:"LATCHKEY_OUTBOUND_TIMEOUT" help:"Longest time for one request to a target."`
	Workers int           `yaml:"workers" default:"64" env:"LATCHKEY_OUTBOUND_WORKERS" help:"Objects synchronized at once on this replica."`
	Sweep   time.Duration `yaml:"sweep" default:"15m" env:"LATCHKEY_OUTBOUND_SWEEP" help:"How often everything is compared with what is remembered."`
}

// LogConfig says what is logged, to standard error.
type LogConfig struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" env:"LATCHKEY_LOG_LEVEL" help:"debug, info, warn or error."`
	Format string `yaml:"format" default:"text" enum:"text,json" env:"LATCHKEY_LOG_FORMAT" help:"text or json."`
}

// MetricsConfig says where metrics are read.
type MetricsConfig struct {
	Listen string `yaml:"listen" env:"LATCHKEY_METRICS_LISTEN" help:"Own address and port for /metrics. Default: /metrics on the main address, for loopback clients only."`
}

// Check completes derived values and returns what is wrong, field by field.
func (c *Config) Check() error {
	var f problem.Fields
	if c.PublicURL == "" {
		scheme := "http"
		if c.TLSCert != "" {
			scheme = "https"
		}
		c.PublicURL = scheme + "://" + c.Listen
	}
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		f.Add("publicUrl", "Give the public URL as https://id.example.com.")
	case u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		f.Add("publicUrl", "The public URL is only scheme, host and port: Latchkey serves a host of its own, not a path.")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		f.Add("tlsKey", "Give both the certificate and its key, or neither.")
	}
	if _, err := prefixes(c.TrustedProxies); err != nil {
		f.Add("trustedProxies", "%v", err)
	}
	if _, err := prefixes(c.Outbound.Allow); err != nil {
		f.Add("outbound.allow", "%v", err)
	}
	c.Mail.check(&f)
	if c.MasterKeyFile == "" {
		c.MasterKeyFile = filepath.Join(c.Data, "master.key")
	}
	if c.Postgres != "" && c.MasterKey == "" && c.MasterKeyFile == "" {
		f.Add("masterKey", "Replicas that share a PostgreSQL need the same master key: set it.")
	}
	if err := keys.Signing(c.Signing).Check(); err != nil {
		f.Add("signing", "%s", problem.Public(err))
	}
	if c.Session.MinPassword != 0 && c.Session.MinPassword < 8 {
		f.Add("session.minPassword", "A password needs at least 8 characters.")
	}
	return f.Err()
}

// HTTPS reports whether people reach us by https.
func (c *Config) HTTPS() bool { return strings.HasPrefix(c.PublicURL, "https://") }

// prefixes parses networks; an address alone is a network of one.
func prefixes(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range list {
		s = strings.TrimSpace(s)
		if s == "" {
			continue
		}
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p.Masked())
			continue
		}
		a, err := netip.ParseAddr(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither a network like 10.0.0.0/8 nor an address", s)
		}
		out = append(out, netip.PrefixFrom(a, a.BitLen()))
	}
	return out, nil
}
