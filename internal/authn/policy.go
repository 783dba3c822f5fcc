package authn

import (
	_ "embed"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/keys"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
)

// common holds passwords that many people choose, in lower case, one a line, with a line end
// before the first. It is searched as it is, so that nothing is built at start.
//
//go:embed common.txt
var common string

// maxPassword is the most characters of a password.
const maxPassword = 256

// policy says what a new password must be like. It asks for length and refuses what guessers
// try first, and asks for no mixture of characters (NIST SP 800-63B §3.1.1.2).
type policy struct{ min int }

// CheckPasswordPolicy returns an Invalid error about the field "password" that says why pw
// can't be u's password, or nil.
func (a *Authn) CheckPasswordPolicy(pw keys.Secret, u directory.User) error {
	if detail := a.policy.check(pw.Reveal(), u); detail != "" {
		return problem.InvalidField("password", "%s", detail)
	}
	return nil
}

// MinPassword is the least number of characters of a new password.
func (a *Authn) MinPassword() int { return a.policy.min }

const advice = " A few unrelated words make a good one."

func (p policy) check(pw string, u directory.User) string {
	if !utf8.ValidString(pw) || strings.ContainsFunc(pw, unicode.IsControl) {
		return "The password has characters that can't be typed everywhere. Choose another one."
	}
	n := utf8.RuneCountInString(pw)
	if n < p.min {
		return "Use at least " + itoa(p.min) + " characters." + advice
	}
	if n > maxPassword {
		return "Use at most " + itoa(maxPassword) + " characters."
	}
	folded := store.Fold(pw)
	switch {
	case monotonous(folded):
		return "This is a simple pattern, which is guessed first." + advice
	case isCommon(folded):
		return "This password, or its base, is among those that many people use and guessers try first." + advice
	case mostlyOwn(folded, u):
		return "This is mostly your own name or address, which is guessed first." + advice
	}
	return ""
}

func listed(word string) bool {
	return word != "" && !strings.Contains(word, "\n") && strings.Contains(common, "\n"+word+"\n")
}

// plain undoes the usual replacements of letters.
var plain = strings.NewReplacer("0", "o", "1", "i", "3", "e", "4", "a", "5", "s", "7", "t", "@", "a", "$", "s", "!", "i")

// decoration is how many characters around a common password still make it a common one, as
// in "P@ssw0rd-2024!".
const decoration = 7

// isCommon reports whether pw is a common password, also written with usual replacements,
// twice, in reverse, or with a few digits and signs around.
func isCommon(pw string) bool {
	joined := strings.ReplaceAll(pw, " ", "")
	for _, s := range []string{pw, joined, plain.Replace(joined), reverse(joined)} {
		if listed(s) || len(s)%2 == 0 && s[:len(s)/2] == s[len(s)/2:] && listed(s[:len(s)/2]) {
			return true
		}
	}
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	for _, s := range []string{strings.TrimFunc(joined, notLetter), plain.Replace(strings.TrimFunc(joined, notLetter)), trimTail(plain.Replace(strings.TrimRightFunc(joined, notLetter)))} {
		if len(s) >= 4 && len(joined)-len(s) <= decoration && listed(s) {
			return true
		}
	}
	return false
}

func trimTail(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
}

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

// keyboard holds runs of neighbouring keys.
const keyboard = "qwertyuiop asdfghjkl zxcvbnm qwertzuiop azertyuiop 1234567890 1qaz2wsx3edc4rfv5tgb6yhn7ujm"

// monotonous reports whether pw is little more than runs of the same, of neighbouring or of
// repeated characters.
func monotonous(pw string) bool {
	r := []rune(pw)
	distinct := map[rune]bool{}
	easy := 0
	for i, c := range r {
		distinct[c] = true
		if i == 0 {
			continue
		}
		d := c - r[i-1]
		pair := string(r[i-1 : i+1])
		if d >= -1 && d <= 1 || strings.Contains(keyboard, pair) || strings.Contains(keyboard, reverse(pair)) {
			easy++
		}
	}
	if len(distinct) < 5 || easy*5 >= (len(r)-1)*4 {
		return true
	}
	for unit := 1; unit <= 4; unit++ {
		same := 0
		for i := unit; i < len(r); i++ {
			if r[i] == r[i-unit] {
				same++
			}
		}
		if same*10 >= (len(r)-unit)*9 {
			return true
		}
	}
	return false
}

// mostlyOwn reports whether little remains of pw without the person's own names and addresses.
func mostlyOwn(pw string, u directory.User) bool {
	split := func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }
	rest := pw
	for _, text := range []string{u.Email, u.AlternateEmail, u.Username, u.DisplayName, u.GivenName, u.MiddleName, u.FamilyName, u.EmployeeID} {
		folded := store.Fold(text)
		if local, _, ok := strings.Cut(folded, "@"); ok && len(local) >= 4 {
			rest = strings.ReplaceAll(rest, local, "")
		}
		for _, word := range append([]string{folded}, strings.FieldsFunc(folded, split)...) {
			if len(word) >= 4 {
				rest = strings.ReplaceAll(rest, word, "")
			}
		}
	}
	return rest != pw && utf8.RuneCountInString(strings.Join(strings.FieldsFunc(rest, split), "")) < 8
}
