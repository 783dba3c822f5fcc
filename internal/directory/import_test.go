package directory_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/latchkey-idp/latchkey/internal/access"
	"github.com/latchkey-idp/latchkey/internal/audit"
	"github.com/latchkey-idp/latchkey/internal/directory"
	"github.com/latchkey-idp/latchkey/internal/problem"
	"github.com/latchkey-idp/latchkey/internal/store"
	"github.com/latchkey-idp/latchkey/internal/store/storetest"
)

func parse(t *testing.T, text string, format directory.ImportFormat) []directory.ImportRow {
	t.Helper()
	rows, err := directory.ParseImport(strings.NewReader(text), format)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseCSV(t *testing.T) {
	ada := directory.ImportRow{
		Line: 2,
		Attributes: directory.Attributes{Email: "ada@example.com", Profile: directory.Profile{
			GivenName: "Ada", FamilyName: "Lovelace", Title: "Analyst",
			Phones:    []directory.Phone{{Type: "mobile", Value: "+44 20 1234567"}},
			Addresses: []directory.Address{{Type: "work", Locality: "London", Country: "GB"}},
			Custom:    map[string]any{"badge": "B-7", "floor": int64(2)},
		}},
		Given:   []string{"email", "givenName", "familyName", "title", "custom.badge", "custom.floor", "phones.mobile", "addresses.work"},
		Manager: "charles@example.com", Groups: []string{"Engineers", "Everybody"}, State: directory.Active,
	}
	rows := parse(t, read(t, "people.csv"), "")
	if len(rows) != 3 || rows[1].Title != "Director, Engines" || rows[2].Line != 5 {
		t.Fatalf("rows are %+v", rows)
	}
	if d := cmp.Diff(ada, rows[0]); d != "" {
		t.Errorf("first row (-want +got):\n%s", d)
	}
	for name, text := range map[string]string{
		"comma":              "email,givenName\nx@example.com,Ada\n",
		"semicolon":          "email;givenName\nx@example.com;Ada\n",
		"tab":                "email\tgivenName\nx@example.com\tAda",
		"CRLF":               "email,givenName\r\nx@example.com,Ada\r\n",
		"byte order mark":    "\ufeffE-Mail,FIRST NAME\nx@example.com,Ada\n",
		"separators at ends": "email,givenName,,\nx@example.com,Ada,,\n,,,\n",
		"quoted comma":       "\"email\",\"given_name\"\n\"x@example.com\",\"Ada\"\n",
		"column order":       "First name,mail\nAda,x@example.com",
	} {
		t.Run(name, func(t *testing.T) {
			rows := parse(t, text, directory.CSV)
			if len(rows) != 1 || rows[0].Err != nil || rows[0].Email != "x@example.com" || rows[0].GivenName != "Ada" {
				t.Errorf("rows are %+v", rows)
			}
		})
	}
}

func TestParseJSONL(t *testing.T) {
	want := []directory.ImportRow{
		{
			Line: 1,
			Attributes: directory.Attributes{Email: "ada@example.com", Profile: directory.Profile{
				GivenName: "Ada", FamilyName: "Lovelace", Phones: []directory.Phone{{Type: "mobile", Value: "+44 20 1234567"}},
				Custom: map[string]any{"badge": "B-7", "floor": int64(2)},
			}},
			Given:   []string{"custom.badge", "custom.floor", "email", "familyName", "givenName", "phones"},
			Manager: "charles@example.com", Groups: []string{"Engineers", "Everybody"}, State: directory.Active,
		},
		{
			Line: 3,
			Attributes: directory.Attributes{Email: "charles@example.com", Profile: directory.Profile{
				Custom: map[string]any{"remote": true},
			}},
			Given: []string{"custom.remote", "email", "title"},
		},
	}
	if d := cmp.Diff(want, parse(t, read(t, "people.jsonl"), "")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestBadFilesAreRefusedWithAReason(t *testing.T) {
	for name, c := range map[string]struct{ text, says string }{
		"empty":            {"", "empty"},
		"unknown column":   {read(t, "unknown.csv"), "custom.<name>"},
		"password column":  {"email,password\n", "isn't known"},
		"bad custom type":  {"email,custom.x:date\n", "isn't known"},
		"no e-mail column": {"givenName\nAda\n", "no e-mail column"},
		"twice":            {"email,first name,givenName\n", "mean the same"},
		"UTF-16":           {"\xff\xfee\x00", "UTF-16"},
		"spreadsheet":      {"PK\x03\x04", "spreadsheet"},
		"endless quote":    {"email\n\"" + strings.Repeat("x\n", 1<<20), "Line 2"},
		"endless line":     {"{" + strings.Repeat(" ", 1<<20) + "}", "Line 1"},
		"quote in header":  {"ema\"il\n", "header"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := directory.ParseImport(strings.NewReader(c.text), "")
			if !problem.Is(err, problem.Invalid) || !strings.Contains(problem.Public(err), c.says) {
				t.Errorf("%d rows, error %v; want one that says %q", len(rows), err, c.says)
			}
		})
	}
	if _, err := directory.ParseImport(strings.NewReader("x"), "xml"); !problem.Is(err, problem.Invalid) {
		t.Errorf("format xml: %v", err)
	}
	broken := errors.New("broken")
	if _, err := directory.ParseImport(io.MultiReader(strings.NewReader("email\n"), iotestErr{broken}), directory.CSV); !errors.Is(err, broken) {
		t.Errorf("a file that can't be read: %v", err)
	}
	many := "email\n" + strings.Repeat("x\n", directory.MaxImportRows+1)
	if _, err := directory.ParseImport(strings.NewReader(many), ""); !problem.Is(err, problem.Invalid) || !strings.Contains(err.Error(), "200000 rows") {
		t.Errorf("too many rows: %v", err)
	}
}

type iotestErr struct{ err error }

func (r iotestErr) Read([]byte) (int, error) { return 0, r.err }

func TestBadRowsAreReportedAndTheOthersGoOn(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	f.add("Taken Person")
	boss := f.withRole("Olga Owner", access.Owner)
	for name, c := range map[string]struct {
		format directory.ImportFormat
		text   string
		line   int
		fields []string
	}{
		"bare quote":        {directory.CSV, "email,title\nbad@example.com,a\"b\n", 2, nil},
		"too many values":   {directory.CSV, "email,title\nbad@example.com,a,b\n", 2, nil},
		"nameless column":   {directory.CSV, "email,\nbad@example.com,b\n", 2, []string{"file"}},
		"no e-mail":         {directory.CSV, "email,title\n,b\n", 2, []string{"email"}},
		"bad e-mail":        {directory.CSV, "email\nx\n", 2, []string{"email"}},
		"bad state":         {directory.CSV, "email,state\nbad@example.com,gone\n", 2, []string{"state"}},
		"bad number":        {directory.CSV, "email,custom.n:number\nbad@example.com,x\n", 2, []string{"custom.n"}},
		"bad bool":          {directory.CSV, "email,custom.b:bool\nbad@example.com,x\n", 2, []string{"custom.b"}},
		"Latin-1":           {directory.CSV, "email,first name\nbad@example.com,Jos\xe9\n", 2, []string{"givenName"}},
		"unknown group":     {directory.CSV, "email,groups\nbad@example.com,Nowhere\n", 2, []string{"groups"}},
		"unknown manager":   {directory.CSV, "email,manager\nbad@example.com,nobody\n", 2, []string{"manager"}},
		"own manager":       {directory.CSV, "email,manager\nbad@example.com,bad@example.com\n", 2, []string{"manager"}},
		"user name taken":   {directory.CSV, "email,username\nbad@example.com,taken.person@example.com\n", 2, []string{"username"}},
		"manager's row bad": {directory.CSV, "email,username,manager\nbad@example.com,bad,boss\nboss@example,boss,\n", 2, []string{"manager"}},
		"not JSON":          {directory.JSONL, "{\"email\":\n", 1, nil},
		"a list":            {directory.JSONL, "[]\n", 1, nil},
		"null":              {directory.JSONL, "null\n", 1, nil},
		"unknown attribute": {directory.JSONL, `{"email":"bad@example.com","password":"x"}` + "\n", 1, []string{"password"}},
		"wrong type":        {directory.JSONL, `{"email":"bad@example.com","title":5}` + "\n", 1, []string{"title"}},
		"wrong custom":      {directory.JSONL, `{"email":"bad@example.com","custom":{"a":{}}}` + "\n", 1, []string{"custom.a"}},
		"wrong groups":      {directory.JSONL, `{"email":"bad@example.com","groups":"x"}` + "\n", 1, []string{"groups"}},
		"manager's id":      {directory.JSONL, `{"email":"bad@example.com","managerId":"x"}` + "\n", 1, []string{"managerId"}},
		"stronger person":   {directory.JSONL, `{"email":"olga.owner@example.com","title":"x"}` + "\n", 1, nil},
	} {
		t.Run(name, func(t *testing.T) {
			text := c.text
			good := fmt.Sprintf("good%d@example.com", time.Now().UnixNano())
			if c.format == directory.CSV {
				header, _, _ := strings.Cut(text, "\n")
				text += good + strings.Repeat(",", strings.Count(header, ",")) + "\n"
			} else {
				text += `{"email":"` + good + `"}`
			}
			report, err := f.Import(t.Context(), admin, parse(t, text, c.format), directory.ImportOptions{UpdateExisting: true})
			if err != nil {
				t.Fatal(err)
			}
			if report.Created != 1 || report.Failed < 1 || report.Updated+report.Unchanged != 0 {
				t.Fatalf("report is %+v", report)
			}
			bad := report.Rows[0]
			if bad.Line != c.line || bad.Outcome != directory.RowFailed || !strings.HasSuffix(bad.Detail, ".") && !strings.HasSuffix(bad.Detail, `"`) || bad.UserID != "" {
				t.Errorf("row report is %+v", bad)
			}
			var fields []string
			for _, x := range bad.Fields {
				fields = append(fields, x.Name)
			}
			if d := cmp.Diff(c.fields, fields); d != "" {
				t.Errorf("fields (-want +got):\n%s", d)
			}
		})
	}
	if got, err := f.User(t.Context(), admin, boss.ID); err != nil || got.Title != "" {
		t.Errorf("an administrator's import changed an owner: %q, %v", got.Title, err)
	}
}

func TestImport(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		f.group("everybody")
		extra := f.group("Imported")
		f.outbox()
		rows := parse(t, read(t, "people.csv"), "")
		o := directory.ImportOptions{DryRun: true, CreateGroups: true, Groups: []directory.GroupID{extra.ID}, Source: "people.csv"}
		start := len(f.events())

		dry, err := f.Import(t.Context(), admin, rows, o)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.events()) != start || len(f.outbox()) != 0 {
			t.Error("a dry run wrote something")
		}
		if page, err := f.ListUsers(t.Context(), admin, directory.UserQuery{}); err != nil || len(page.Items) != 0 {
			t.Errorf("a dry run created %d people, %v", len(page.Items), err)
		}
		o.DryRun = false
		done := 0
		o.Progress = func(n int) { done = n }
		real, err := f.Import(t.Context(), admin, rows, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(dry, real, cmpopts.IgnoreFields(directory.ImportReport{}, "ID", "DryRun"), cmpopts.IgnoreFields(directory.RowReport{}, "UserID")); d != "" {
			t.Errorf("the dry run told something else (-dry +real):\n%s", d)
		}
		if real.Created != 3 || real.Failed != 0 || done != 3 || !cmp.Equal(real.GroupsCreated, []string{"Engineers"}) {
			t.Errorf("report is %+v, progress %d", real, done)
		}

		ada, err := f.UserByLogin(t.Context(), admin, "ada@example.com")
		if err != nil {
			t.Fatal(err)
		}
		charles, err := f.UserByLogin(t.Context(), admin, "charles@example.com")
		if err != nil {
			t.Fatal(err)
		}
		want := directory.Attributes{Username: "ada@example.com", Email: "ada@example.com", Profile: rows[0].Profile}
		want.ManagerID = charles.ID
		if d := cmp.Diff(want, ada.Attributes); d != "" || ada.State != directory.Active {
			t.Errorf("state %s; (-want +got):\n%s", ada.State, d)
		}
		if grace, err := f.UserByLogin(t.Context(), admin, "grace@example.com"); err != nil || grace.State != directory.Staged {
			t.Errorf("somebody without a state is %s, %v", grace.State, err)
		}
		groups, err := f.GroupsOf(t.Context(), admin, ada.ID)
		var told []string
		for _, g := range groups {
			told = append(told, fmt.Sprintf("%s/%d", g.Name, g.Members))
		}
		if d := cmp.Diff([]string{"Engineers/1", "everybody/2", "Imported/3"}, told); d != "" || err != nil {
			t.Errorf("groups (-want +got):\n%s %v", d, err)
		}
		count := map[audit.Type]int{}
		for _, e := range f.events()[start:] {
			count[e.Type]++
		}
		if d := cmp.Diff(map[audit.Type]int{audit.UserCreate: 3, audit.GroupCreate: 1, audit.UserImport: 1}, count); d != "" {
			t.Errorf("events (-want +got):\n%s", d)
		}
		// Three people, and each of the three groups at its creation or filling.
		if out := f.outbox(); len(out) != 3+3+1 {
			t.Errorf("outbox: %v", out)
		}

		t.Run("again", func(t *testing.T) {
			for _, update := range []bool{false, true} {
				o.UpdateExisting = update
				start := len(f.events())
				again, err := f.Import(t.Context(), admin, rows, o)
				if err != nil || again.Unchanged != 3 || len(again.GroupsCreated) != 0 {
					t.Errorf("update %v: %+v, %v", update, again, err)
				}
				events := f.events()[start:]
				if len(events) != 1 || events[0].Type != audit.UserImport || len(f.outbox()) != 0 {
					t.Errorf("update %v: %d events", update, len(events))
				}
			}
		})

		t.Run("update", func(t *testing.T) {
			text := `{"email":"ADA@example.com","title":null,"custom.badge":"","phones":[],"state":"suspended"}
{"email":"charles@example.com","username":"charles","state":"staged"}
{"email":"grace@example.com","state":"active","groups":["Engineers"],"manager":"charles"}`
			rows := parse(t, text, directory.JSONL)
			o := directory.ImportOptions{UpdateExisting: true, DryRun: true}
			dry, err := f.Import(t.Context(), admin, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			o.DryRun = false
			report, err := f.Import(t.Context(), admin, rows, o)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(dry, report, cmpopts.IgnoreFields(directory.ImportReport{}, "ID", "DryRun")); d != "" {
				t.Errorf("the dry run told something else (-dry +real):\n%s", d)
			}
			outcomes := []directory.RowOutcome{report.Rows[0].Outcome, report.Rows[1].Outcome, report.Rows[2].Outcome}
			if d := cmp.Diff([]directory.RowOutcome{directory.RowUpdated, directory.RowFailed, directory.RowUpdated}, outcomes); d != "" {
				t.Errorf("outcomes (-want +got):\n%s\n%+v", d, report.Rows)
			}
			got, err := f.User(t.Context(), admin, ada.ID)
			if err != nil {
				t.Fatal(err)
			}
			if got.Title != "" || got.Phones != nil || got.State != directory.Suspended || got.SessionEpoch != 1 || got.Version != 2 || got.ManagerID != charles.ID {
				t.Errorf("after the update: %+v", got)
			}
			if d := cmp.Diff(map[string]any{"floor": int64(2)}, got.Custom); d != "" {
				t.Error(d)
			}
			grace, err := f.UserByLogin(t.Context(), admin, "grace@example.com")
			if err != nil || grace.ManagerID != charles.ID || grace.State != directory.Active {
				t.Errorf("grace: %+v, %v", grace, err)
			}
		})
	})
}

func TestImportRefusesItsOwnDuplicates(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	text := "email,username\na@example.com,one\nA@EXAMPLE.com,two\nb@example.com,ONE\nc@example.com,a@example.com\n"
	report, err := f.Import(t.Context(), admin, parse(t, text, ""), directory.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report.Created != 1 || report.Failed != 3 {
		t.Errorf("%+v", report)
	}
	for i, says := range map[int]string{1: "Line 2 has the same e-mail", 2: "Line 2 has the same user name", 3: "Line 2 has the same user name"} {
		if !strings.Contains(report.Rows[i].Detail, says) {
			t.Errorf("row %d says %q", i, report.Rows[i].Detail)
		}
	}
}

func TestImportNeedsPermission(t *testing.T) {
	f := newFixture(t, storetest.SQLite(t))
	_, err := f.Import(t.Context(), helpDesk, nil, directory.ImportOptions{})
	wantKind(t, err, problem.Forbidden)
	_, err = f.Import(t.Context(), admin, nil, directory.ImportOptions{Groups: []directory.GroupID{"none"}})
	wantKind(t, err, problem.Invalid, "groups")
	_, err = f.Import(t.Context(), admin, nil, directory.ImportOptions{State: "gone"})
	wantKind(t, err, problem.Invalid, "state")
}

func TestImportInChunks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := newFixture(t, db)
		const n = 1203
		rows := make([]directory.ImportRow, n)
		for i := range rows {
			rows[i].Line, rows[i].Email = i+1, fmt.Sprintf("u%04d@example.com", i)
			// Everybody's manager comes later in the file.
			if i+600 < n {
				rows[i].Manager = fmt.Sprintf("u%04d@example.com", i+600)
			}
		}
		var progress []int
		report, err := f.Import(t.Context(), admin, rows, directory.ImportOptions{State: directory.Active, Progress: func(n int) { progress = append(progress, n) }})
		if err != nil || report.Created != n {
			t.Fatalf("%d created, %v", report.Created, err)
		}
		if d := cmp.Diff([]int{500, 1000, n}, progress); d != "" {
			t.Errorf("progress (-want +got):\n%s", d)
		}
		first, err := f.User(t.Context(), admin, report.Rows[0].UserID)
		if err != nil || first.ManagerID != report.Rows[600].UserID {
			t.Errorf("manager is %q, %v", first.ManagerID, err)
		}
	})
}

func FuzzParseImport(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.*")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds in testdata: %v", err)
	}
	for _, path := range seeds {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, format := range []directory.ImportFormat{"", directory.CSV, directory.JSONL} {
			rows, err := directory.ParseImport(strings.NewReader(string(b)), format)
			if err != nil {
				if !problem.Is(err, problem.Invalid) {
					t.Errorf("the file isn't to blame for %v", err)
				}
				if rows != nil {
					t.Error("rows beside an error")
				}
				continue
			}
			last := 0
			for _, r := range rows {
				if r.Line <= last {
					t.Errorf("line %d follows line %d", r.Line, last)
				}
				last = r.Line
				if r.Given == nil && r.Err == nil {
					t.Error("a row from a file doesn't say what it gives")
				}
			}
		}
	})
}

func BenchmarkImport(b *testing.B) {
	const n = 20_000
	rows := make([]directory.ImportRow, n)
	for i := range rows {
		rows[i] = directory.ImportRow{
			Line: i + 2, Groups: []string{"Everybody", fmt.Sprintf("Team %d", i%500)}, State: directory.Active,
			Attributes: directory.Attributes{
				Email: fmt.Sprintf("person%06d@example.com", i), Username: fmt.Sprintf("person%06d", i),
				Profile: directory.Profile{
					GivenName: fmt.Sprintf("Given%d", i%1000), FamilyName: fmt.Sprintf("Family%d", i), Title: "Engineer", Department: "Development",
					Company: "Example", TimeZone: "Europe/Berlin", Locale: "de-DE", EmployeeID: fmt.Sprint(i),
				},
			},
		}
	}
	for _, engine := range []string{"sqlite", "postgresql"} {
		b.Run(engine, func(b *testing.B) {
			total := time.Duration(0)
			for range b.N {
				cfg := store.Config{Dir: b.TempDir()}
				if engine == "postgresql" {
					cfg = store.Config{PostgresURL: storetest.Schema(b), MaxConns: 8}
				}
				db, err := store.Open(b.Context(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				d := directory.New(db, time.Now)
				start := time.Now()
				report, err := d.Import(b.Context(), owner, rows, directory.ImportOptions{CreateGroups: true})
				total += time.Since(start)
				if err != nil || report.Created != n {
					b.Fatalf("%d created, %v", report.Created, err)
				}
				if err := db.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n*b.N)/total.Seconds(), "users/s")
		})
	}
}
