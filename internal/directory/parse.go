package directory

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey-idp/latchkey/internal/problem"
)

// Limits of an import file.
const (
	MaxImportRows = 200_000
	MaxImportLine = 1 << 20 // bytes
)

// ParseImport reads the people of an import file. Rows that can't be read are returned too,
// with Err set; an error means that nothing of the file can be used. A format of "" is told by
// the first character.
//
// CSV follows RFC 4180 with a header row; the separator (comma, semicolon or tab) and a byte
// order mark are recognized, and an empty cell means that the row says nothing of that column.
// JSON Lines has one object a line: Attributes as JSON, with "groups" (names), "state" and
// "manager"; null or "" clears an attribute.
func ParseImport(r io.Reader, format ImportFormat) ([]ImportRow, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	if err := skipMark(in); err != nil {
		return nil, err
	}
	if format == "" {
		format = CSV
		if head, _ := in.Peek(512); bytes.HasPrefix(bytes.TrimSpace(head), []byte("{")) {
			format = JSONL
		}
	}
	switch format {
	case CSV:
		return parseCSV(in)
	case JSONL:
		return parseJSONL(in)
	}
	return nil, problem.InvalidField("format", "Choose csv or jsonl as the file's format.")
}

// skipMark passes over a byte order mark, and refuses what isn't UTF-8 from the start.
func skipMark(in *bufio.Reader) error {
	head, err := in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return unreadable(err)
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, err = in.Discard(3)
		return err
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		return fileError("The file is in UTF-16. Save it as UTF-8 (in a spreadsheet program: “CSV UTF-8”).")
	case bytes.HasPrefix(head, []byte("PK\x03")):
		return fileError("This is a spreadsheet, not a text file. Save it as CSV (UTF-8) first.")
	}
	return nil
}

func fileError(format string, args ...any) error {
	return problem.InvalidField("file", format, args...)
}

func unreadable(err error) error {
	return fmt.Errorf("directory: read the import file: %w", err)
}

func tooManyRows() error {
	return fileError("The file has more than %d rows. Split it into several files.", MaxImportRows)
}

func lineTooLong(line int) error {
	return fileError("Line %d is longer than %d MiB. Is a quotation mark missing its partner?", line, MaxImportLine>>20)
}

// column says what the cells of a column are.
type column struct {
	// name is an attribute, or "groups", "state", "manager", "custom.<key>", "phones.<type>",
	// "addresses.<part>"; "" for a column without a name.
	name string
	// kind is that of a custom attribute: string, number, bool or list.
	kind string
}

// synonyms maps what files call a column, without case, spaces and signs.
var synonyms = map[string]string{
	"username": "username", "user": "username", "login": "username", "loginname": "username", "samaccountname": "username", "uid": "username",
	"email": "email", "mail": "email", "emailaddress": "email", "workemail": "email", "primaryemail": "email",
	"givenname": "givenName", "firstname": "givenName", "first": "givenName", "forename": "givenName",
	"middlename": "middleName", "middle": "middleName",
	"familyname": "familyName", "lastname": "familyName", "last": "familyName", "surname": "familyName", "sn": "familyName",
	"displayname": "displayName", "fullname": "displayName", "name": "displayName",
	"alternateemail": "alternateEmail", "secondaryemail": "alternateEmail", "personalemail": "alternateEmail", "recoveryemail": "alternateEmail",
	"title": "title", "jobtitle": "title", "position": "title",
	"department": "department", "dept": "department",
	"company": "company", "organization": "company", "organisation": "company",
	"costcentre": "costCentre", "costcenter": "costCentre",
	"employeeid": "employeeId", "employeenumber": "employeeId", "staffid": "employeeId", "personnelnumber": "employeeId",
	"employeetype": "employeeType", "employmenttype": "employeeType",
	"location": "location", "office": "location", "site": "location",
	"managerid": "managerId",
	"manager":   "manager", "manageremail": "manager", "managerusername": "manager", "supervisor": "manager",
	"locale":   "locale",
	"timezone": "timezone", "tz": "timezone",
	"preferredlanguage": "preferredLanguage", "language": "preferredLanguage",
	"state": "state", "status": "state",
	"groups": "groups", "group": "groups", "usergroups": "groups", "memberof": "groups",
	"phone": "phones.work", "workphone": "phones.work", "telephone": "phones.work", "phonenumber": "phones.work", "officephone": "phones.work",
	"mobile": "phones.mobile", "mobilephone": "phones.mobile", "cellphone": "phones.mobile", "cell": "phones.mobile",
	"homephone": "phones.home",
	"street":    "addresses.street", "streetaddress": "addresses.street", "address": "addresses.street",
	"city": "addresses.locality", "locality": "addresses.locality", "town": "addresses.locality",
	"region": "addresses.region", "province": "addresses.region", "stateprovince": "addresses.region", "stateorprovince": "addresses.region", "county": "addresses.region",
	"postalcode": "addresses.postalCode", "postcode": "addresses.postalCode", "zip": "addresses.postalCode", "zipcode": "addresses.postalCode",
	"country": "addresses.country", "countrycode": "addresses.country",
}

// ImportColumns lists the columns that a CSV file can have, in the order of a form. Custom
// attributes are columns too: custom.<name>, or custom.<name>:number, :bool or :list.
func ImportColumns() []string {
	return []string{
		"email", "username", "givenName", "middleName", "familyName", "displayName", "alternateEmail", "title", "department", "company",
		"costCentre", "employeeId", "employeeType", "location", "manager", "phone", "mobile", "homePhone", "street", "city", "region",
		"postalCode", "country", "locale", "timezone", "preferredLanguage", "state", "groups",
	}
}

// findColumn tells what a header cell means.
func findColumn(header string) (column, bool) {
	header = tidy(header)
	if header == "" {
		return column{}, true
	}
	if len(header) > len(CustomPrefix) && strings.EqualFold(header[:len(CustomPrefix)], CustomPrefix) {
		key, kind, typed := strings.Cut(header[len(CustomPrefix):], ":")
		if !typed {
			kind = "string"
		}
		known := kind == "string" || kind == "number" || kind == "bool" || kind == "list"
		return column{CustomPrefix + key, kind}, known && customKey.MatchString(key)
	}
	plain := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, header)
	name, ok := synonyms[plain]
	return column{name: name}, ok
}

func readHeader(cells []string) ([]column, error) {
	out := make([]column, len(cells))
	seen := map[string]string{}
	for i, cell := range cells {
		c, ok := findColumn(cell)
		if !ok {
			return nil, fileError("Column %d (%s) isn't known. Columns can be %s, and custom.<name>.", i+1, clip(cell), strings.Join(ImportColumns(), ", "))
		}
		if first, twice := seen[c.name]; twice && c.name != "" {
			return nil, fileError("Two columns mean the same: %s and %s. Remove one of them.", clip(first), clip(cell))
		}
		seen[c.name] = cell
		out[i] = c
	}
	if _, ok := seen["email"]; !ok {
		return nil, fileError("There is no e-mail column. The first row has to name the columns, and one of them has to be email.")
	}
	return out, nil
}

// clip quotes and shortens what is repeated of a file in a message.
func clip(s string) string { return "“" + shown(s) + "”" }

func shown(s string) string {
	const most = 40
	s = strings.Map(func(r rune) rune {
		if isControl(r) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return s
}

// separator tells by the header row which character divides cells.
func separator(in *bufio.Reader) rune {
	head, _ := in.Peek(64 << 10)
	best, most := ',', 0
	for _, sep := range []rune{',', ';', '\t'} {
		n, quoted := 0, false
	line:
		for _, b := range head {
			switch {
			case b == '"':
				quoted = !quoted
			case quoted:
			case b == '\n' || b == '\r':
				break line
			case rune(b) == sep:
				n++
			}
		}
		if n > most {
			best, most = sep, n
		}
	}
	return best
}

// budget is a reader that ends with errBudget instead of giving more than was granted, so that
// no row makes the parser hold a whole file.
type budget struct {
	in   io.Reader
	left int64
}

var errBudget = errors.New("row too long")

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errBudget
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func parseCSV(in *bufio.Reader) ([]ImportRow, error) {
	sep := separator(in)
	limit := &budget{in: in}
	r := csv.NewReader(limit)
	r.Comma = sep
	r.FieldsPerRecord = -1
	r.ReuseRecord = true
	var columns []column
	var rows []ImportRow
	var granted int64
	last := 0
	for {
		// The csv reader may have read ahead; what it consumed decides what a row may take.
		limit.left += r.InputOffset() + MaxImportLine - granted
		granted = r.InputOffset() + MaxImportLine
		cells, err := r.Read()
		line := 0
		if err == nil {
			line, _ = r.FieldPos(0)
			last, _ = r.FieldPos(len(cells) - 1)
		}
		parse, isParse := errors.AsType[*csv.ParseError](err)
		switch {
		case errors.Is(err, io.EOF):
			if columns == nil {
				return nil, fileError("The file is empty. The first row has to name the columns: %s.", strings.Join(ImportColumns()[:6], ", "))
			}
			return rows, nil
		case errors.Is(err, errBudget):
			return nil, lineTooLong(last + 1)
		case isParse:
			if columns == nil {
				return nil, fileError("The header row can't be read: %s", quoteHint)
			}
			rows = append(rows, ImportRow{Line: parse.StartLine, Err: problem.New(problem.Invalid, "This row can't be read: %s", quoteHint)})
		case err != nil:
			return nil, unreadable(err)
		case columns == nil:
			if columns, err = readHeader(cells); err != nil {
				return nil, err
			}
		case !slices.ContainsFunc(cells, func(c string) bool { return strings.TrimSpace(c) != "" }):
			// Spreadsheets leave rows of separators behind.
		default:
			rows = append(rows, csvRow(line, columns, cells))
		}
		if len(rows) > MaxImportRows {
			return nil, tooManyRows()
		}
	}
}

const quoteHint = `a quotation mark is missing its partner. A value with a quotation mark in it is written "like ""this"""`

func csvRow(line int, columns []column, cells []string) ImportRow {
	row := ImportRow{Line: line, Given: []string{}}
	if len(cells) > len(columns) && slices.ContainsFunc(cells[len(columns):], func(c string) bool { return c != "" }) {
		row.Err = problem.New(problem.Invalid, "This row has %d values, but there are %d columns. A value with the separator in it needs quotation marks.", len(cells), len(columns))
		return row
	}
	var f problem.Fields
	var address Address
	for i, c := range columns {
		if i >= len(cells) {
			break
		}
		// The reader reuses its buffer only for the slice, not for the texts in it.
		cell := tidy(cells[i])
		if cell == "" {
			continue
		}
		kind, rest, _ := strings.Cut(c.name, ".")
		switch kind {
		case "":
			f.Add("file", "Column %d has no name, but this row has a value in it.", i+1)
			continue
		case "groups":
			row.Groups = splitList(cell)
			continue
		case "state":
			row.State = readState(cell, &f)
			continue
		case "manager":
			row.Manager = cell
			continue
		case "phones":
			row.Phones = append(row.Phones, Phone{Type: rest, Value: cell})
		case "addresses":
			address.Type = "work"
			switch rest {
			case "street":
				address.Street = cell
			case "locality":
				address.Locality = cell
			case "region":
				address.Region = cell
			case "postalCode":
				address.PostalCode = cell
			case "country":
				address.Country = cell
			}
			continue
		case "custom":
			v, detail := customCell(cell, c.kind)
			if detail != "" {
				f.Add(c.name, "%s", detail)
				continue
			}
			if row.Custom == nil {
				row.Custom = map[string]any{}
			}
			row.Custom[rest] = v
		default:
			if t, ok := findText(c.name); ok {
				*t.at(&row.Attributes) = cell
			}
		}
		row.Given = append(row.Given, c.name)
	}
	if address != (Address{}) {
		row.Addresses = []Address{address}
		row.Given = append(row.Given, "addresses.work")
	}
	row.Err = f.Err()
	return row
}

// splitList splits names at ; | or a line break. A comma may be part of a name.
func splitList(s string) []string {
	var out []string
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r == ';' || r == '|' || r == '\n' || r == '\r' }) {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func readState(s string, f *problem.Fields) State {
	st := State(strings.ToLower(strings.TrimSpace(s)))
	if st != "" && !st.Valid() {
		f.Add("state", "The state has to be staged, active or suspended.")
		return ""
	}
	return st
}

func customCell(s, kind string) (any, string) {
	switch kind {
	case "number":
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, "This isn't a number. Write it like 12 or 12.5."
		}
		return customValue(x)
	case "bool":
		switch strings.ToLower(s) {
		case "true", "yes", "1":
			return true, ""
		case "false", "no", "0":
			return false, ""
		}
		return nil, "This is neither true nor false."
	case "list":
		return customList(splitList(s))
	}
	return customValue(s)
}

func parseJSONL(in *bufio.Reader) ([]ImportRow, error) {
	var rows []ImportRow
	for line := 1; ; line++ {
		text, err := readLine(in)
		if errors.Is(err, errBudget) {
			return nil, lineTooLong(line)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, unreadable(err)
		}
		if trimmed := bytes.TrimSpace(text); len(trimmed) > 0 {
			rows = append(rows, jsonRow(line, trimmed))
		}
		if len(rows) > MaxImportRows {
			return nil, tooManyRows()
		}
		if err != nil {
			break
		}
	}
	if len(rows) == 0 {
		return nil, fileError(`The file is empty. Each line has to be an object such as {"email":"ada@example.com"}.`)
	}
	return rows, nil
}

// readLine returns a line without bound but MaxImportLine; errBudget beyond.
func readLine(in *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(long)+len(part) > MaxImportLine {
			return nil, errBudget
		}
		long = append(long, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

func jsonRow(line int, text []byte) ImportRow {
	row := ImportRow{Line: line, Given: []string{}}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil || object == nil {
		row.Err = problem.New(problem.Invalid, `This line isn't a JSON object. It looks like {"email":"ada@example.com","givenName":"Ada"}.`)
		return row
	}
	var f problem.Fields
	for _, name := range slices.Sorted(maps.Keys(object)) {
		row.set(name, object[name], &f)
	}
	row.Err = f.Err()
	return row
}

// set takes over one member of a JSON row.
func (row *ImportRow) set(name string, raw json.RawMessage, f *problem.Fields) {
	into := func(v any, want string) {
		if json.Unmarshal(raw, v) != nil {
			f.Add(name, "The value has to be %s.", want)
		}
	}
	if t, ok := findText(name); ok {
		row.Given = append(row.Given, name)
		into(t.at(&row.Attributes), "text")
		return
	}
	switch name {
	case "phones":
		row.Given = append(row.Given, name)
		into(&row.Phones, `a list such as [{"type":"work","value":"+49 30 1234567"}]`)
	case "addresses":
		row.Given = append(row.Given, name)
		into(&row.Addresses, `a list such as [{"type":"work","locality":"Berlin","country":"DE"}]`)
	case "groups":
		into(&row.Groups, "a list of names")
	case "manager":
		into(&row.Manager, "text")
	case "state":
		var s string
		into(&s, "text")
		row.State = readState(s, f)
	case "custom":
		var custom map[string]any
		into(&custom, "an object")
		for _, key := range slices.Sorted(maps.Keys(custom)) {
			row.setCustom(key, custom[key], f)
		}
	default:
		if key, ok := strings.CutPrefix(name, CustomPrefix); ok {
			var v any
			into(&v, "text, a number, true, false or a list of texts")
			row.setCustom(key, v, f)
			return
		}
		f.Add(shown(name), "There is no such attribute. Attributes of the organization's own are written custom.<name>.")
	}
}

// setCustom takes over a custom value; nil clears it.
func (row *ImportRow) setCustom(key string, v any, f *problem.Fields) {
	if !customKey.MatchString(key) {
		f.Add("custom", "The name of a custom attribute begins with a letter and has only letters, digits and _, at most 64.")
		return
	}
	v, detail := customValue(v)
	if detail != "" {
		f.Add(CustomPrefix+key, "%s", detail)
		return
	}
	row.Given = append(row.Given, CustomPrefix+key)
	if v == nil {
		return
	}
	if row.Custom == nil {
		row.Custom = map[string]any{}
	}
	row.Custom[key] = v
}
