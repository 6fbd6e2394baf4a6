package customer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/commercetools"
	"github.com/ct2fluent/ct2fluent/fluent"
)

var writeGolden = flag.Bool("update", false, "write the lower half of testdata/map")

// A file of testdata/map shows a mapping as a pair of documents: above the line
// what commercetools says, below it what Fluent gets. Lines before the
// document change the mapping: `firstName: EXPRESSION`, `attribute NAME TYPE:
// EXPRESSION`, `too-long lastName: cut`, `cleared: omit`; lines with # are for
// the reader. Updates are shown as sent when Fluent may hold every attribute.
func TestMap(t *testing.T) {
	files, err := filepath.Glob("testdata/map/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata/map", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			const line = "\n----\n"
			above, below, _ := strings.Cut(string(text), line)
			got := mapDocument(t, above)
			if *writeGolden {
				if err := os.WriteFile(file, []byte(strings.TrimRight(above, "\n")+line+got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != below {
				t.Errorf("Fluent gets\n%s\nwant\n%s", got, below)
			}
		})
	}
}

func mapDocument(t *testing.T, above string) string {
	t.Helper()
	head, doc, found := strings.Cut(above, "{\n")
	if !found {
		t.Fatal("no customer")
	}
	m, err := CompileMapping(headConfig(t, head))
	if err != nil {
		return "mapping: " + err.Error() + "\n"
	}
	var c commercetools.Customer
	if err := json.Unmarshal([]byte("{\n"+doc), &c); err != nil {
		t.Fatal(err)
	}
	out, err := m.Apply(t.Context(), &c, "shop", "1")
	if err != nil {
		_, reason, _ := ct2fluent.OutcomeOf(err)
		return "dead " + reason + ": " + err.Error() + "\n"
	}
	var b strings.Builder
	show(t, &b, "create", m.create(out, c.ID, out.Username, "1"))
	show(t, &b, "update", m.update(out, c.ID, out.Username, func(string) bool { return true }))
	return b.String()
}

// headConfig reads the lines before the document.
func headConfig(t *testing.T, head string) MappingConfig {
	t.Helper()
	var c MappingConfig
	fields := map[string]*Field{}
	for _, f := range textFields(&c, new(Mapped)) {
		fields[f.name] = f.config
	}
	for at, l := range strings.Split(head, "\n") {
		l = strings.TrimSpace(l)
		key, value, _ := strings.Cut(l, ": ")
		e := Expression{Text: value}
		switch words := strings.Fields(key); {
		case l == "" || strings.HasPrefix(l, "#"):
		case words[0] == "attribute":
			c.Attributes = append(c.Attributes, Attribute{Name: words[1], Type: words[2], Value: e})
		case words[0] == "too-long":
			fields[words[1]].TooLong = value
		case key == "cleared":
			c.Cleared = value
		case key == "id-attribute":
			c.IDAttribute = value
		case key == "username":
			c.Username = e
		case key == "promotionOptIn":
			c.PromotionOptIn = e
		case fields[key] != nil:
			fields[key].Value = e
		default:
			t.Fatalf("line %d: %s is no key", at+1, key)
		}
	}
	return c
}

func show(t *testing.T, b *strings.Builder, what string, w fluent.Write) {
	t.Helper()
	doc := map[string]any{"username": w.Username, "attributes": w.Attributes}
	maps.Copy(doc, w.Fields)
	if w.Create {
		doc["retailer"] = map[string]string{"id": w.RetailerID}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteString(what + " " + pretty.String() + "\n")
}

func TestCompileMappingShowsTheSpot(t *testing.T) {
	at := func(text string) Expression {
		return Expression{Text: text, Place: "application-connector.yml:41"}
	}
	const place = "application-connector.yml:41: mapping."
	tests := []struct {
		name   string
		config MappingConfig
		want   string
	}{
		{"an unknown name", MappingConfig{FirstName: Field{Value: at("custmer.firstName")}},
			place + "firstName: unknown name custmer (1:1)\n | custmer.firstName\n | ^"},
		{"an unknown field, in the second line", MappingConfig{LastName: Field{Value: at("customer.firstName + \n  customer.lastname")}},
			place + "lastName: type commercetools.Customer has no field lastname (2:12)\n |   customer.lastname\n | ...........^"},
		{"broken syntax", MappingConfig{Username: at(`retailerId + `)},
			place + "username: unexpected token EOF (1:13)\n | retailerId + \n | ............^"},
		{"a number where text is wanted", MappingConfig{Title: Field{Value: at("customer.version")}},
			place + "title: this is a whole number, and text is wanted (1:10)\n | customer.version\n | .........^"},
		{"text where true or false is wanted", MappingConfig{PromotionOptIn: at("customer.email")},
			place + "promotionOptIn: this is text, and true or false is wanted (1:10)\n | customer.email\n | .........^"},
		{"a list in a STRING attribute", MappingConfig{Attributes: []Attribute{{Name: "stores", Value: at("customer.stores")}}},
			place + "attributes.stores: this is a list, and text, a number, or true or false is wanted (1:10)\n | customer.stores\n | .........^"},
		{"what is not the same each time", MappingConfig{Title: Field{Value: at("string(now())")}},
			place + "title: unknown name now (1:8)\n | string(now())\n | .......^"},
		{"an attribute without a name", MappingConfig{Attributes: []Attribute{{Value: at("customer.key")}}},
			place + "attributes[0]: no name"},
		{"an attribute without a value", MappingConfig{Attributes: []Attribute{{Name: "key"}}},
			"mapping.attributes[0]: key has no value"},
		{"an attribute twice", MappingConfig{Attributes: []Attribute{{Name: "key", Value: at("customer.key")}, {Name: "key", Value: at("customer.id")}}},
			place + "attributes[1]: key is there twice"},
		{"the id attribute among the others", MappingConfig{IDAttribute: "ctid", Attributes: []Attribute{{Name: "ctid", Value: at("customer.id")}}},
			place + "attributes[0]: ctid is the id attribute, which is always sent (mapping.id-attribute)"},
		{"an unknown policy", MappingConfig{LastName: Field{TooLong: "trim"}},
			`mapping.lastName.too-long: "trim" is none of reject, cut, omit`},
		{"an email that could be cut", MappingConfig{PrimaryEmail: Field{TooLong: "cut"}},
			"mapping.primaryEmail.too-long: must be reject: Fluent needs the whole email"},
		{"an unknown word for cleared", MappingConfig{Cleared: "nil"},
			`mapping.cleared: "nil" is neither null nor omit`},
		{"all that is wrong at once", MappingConfig{Cleared: "nil", Title: Field{Value: at("custmer")}},
			`mapping.cleared: "nil" is neither null nor omit` + "\n" + place + "title: unknown name custmer (1:1)\n | custmer\n | ^"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := CompileMapping(tt.config)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got\n%v\nwant\n%s", err, tt.want)
			}
		})
	}
}

// An expression that works on what it cannot know before must not tell a value.
func TestExpressionErrorsHoldNoValues(t *testing.T) {
	jane := &commercetools.Customer{ID: "1", Email: "jane@example.com"}
	for _, text := range []string{`string(int(customer.email))`, `fromJSON(customer.email)`, `customer.addresses[0].phone`, `customer.custom.fields.x`} {
		m, err := CompileMapping(MappingConfig{Title: Field{Value: Expression{Text: text, Place: "c.yml:7"}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Apply(t.Context(), jane, "shop", "1")
		o, reason, _ := ct2fluent.OutcomeOf(err)
		if o != ct2fluent.Dead || reason != "mapping" || !strings.HasPrefix(err.Error(), "c.yml:7: mapping.title: the expression fails at 1:") ||
			strings.Contains(err.Error(), "jane") {
			t.Errorf("%s: %v %s: %v", text, o, reason, err)
		}
	}
}

// A mistake in an expression can cost a dead letter, not the process.
func TestExpressionsAreLimited(t *testing.T) {
	m, err := CompileMapping(MappingConfig{Title: Field{Value: Expression{Text: `string(len(map(1..90000, 1..90000)))`}}})
	if err == nil {
		_, err = m.Apply(t.Context(), &commercetools.Customer{Email: "a@b.c"}, "shop", "1")
	}
	if o, reason, _ := ct2fluent.OutcomeOf(err); o != ct2fluent.Dead || reason != "mapping" {
		t.Errorf("%v %s: %v", o, reason, err)
	}
	if _, err := CompileMapping(MappingConfig{Title: Field{Value: Expression{Text: `""` + strings.Repeat(` + ""`, maxNodes)}}}); err == nil {
		t.Error("an expression without end was accepted")
	}
}

func TestFingerprintChangesWithTheMapping(t *testing.T) {
	base := MappingConfig{Attributes: []Attribute{{Name: "key", Type: "STRING", Value: Expression{Text: "customer.key"}}}}
	changes := map[string]func(*MappingConfig){
		"username":       func(c *MappingConfig) { c.Username.Text = "customer.email" },
		"id-attribute":   func(c *MappingConfig) { c.IDAttribute = "ctid" },
		"cleared":        func(c *MappingConfig) { c.Cleared = "omit" },
		"a field":        func(c *MappingConfig) { c.Title.Value.Text = "customer.salutation" },
		"too-long":       func(c *MappingConfig) { c.Title.TooLong = "cut" },
		"promotionOptIn": func(c *MappingConfig) { c.PromotionOptIn.Text = "true" },
		"type":           func(c *MappingConfig) { c.Attributes = []Attribute{{"key", "JSON", Expression{Text: "customer.key"}}} },
		"no attribute":   func(c *MappingConfig) { c.Attributes = nil },
	}
	first := mustCompile(t, base)
	moved := base
	moved.Title.Value.Place = "other.yml:1"
	if got := mustCompile(t, moved).Fingerprint(); got != first.Fingerprint() {
		t.Error("it changes with the place in the file")
	}
	seen := map[string]string{first.Fingerprint(): "nothing"}
	for name, change := range changes {
		c := base
		change(&c)
		f := mustCompile(t, c).Fingerprint()
		if other, twice := seen[f]; twice {
			t.Errorf("%s gives the same as %s", name, other)
		}
		seen[f] = name
	}
	same := func(_ context.Context, _ *commercetools.Customer, m Mapped) (Mapped, error) { return m, nil }
	one, two := first.Wrap("loyalty/1", same).Fingerprint(), first.Wrap("loyalty/2", same).Fingerprint()
	if one == first.Fingerprint() || one == two {
		t.Error("a wrap does not change it")
	}
}

func TestWrap(t *testing.T) {
	jane := &commercetools.Customer{ID: "1", Email: "jane@example.com", LastName: "Doe"}
	attribute := func(as ...fluent.Attribute) Mapper {
		return func(_ context.Context, _ *commercetools.Customer, m Mapped) (Mapped, error) {
			m.Attributes = append(m.Attributes, as...)
			return m, nil
		}
	}
	plain := errors.New("the loyalty service does not answer")
	tests := []struct {
		name   string
		f      Mapper
		want   ct2fluent.Outcome
		reason string
	}{
		{"changes what Fluent gets", attribute(fluent.Attribute{Name: "tier", Type: "STRING", Value: json.RawMessage(`"gold"`)}), ct2fluent.Written, ""},
		{"leaves a customer out", func(context.Context, *commercetools.Customer, Mapped) (Mapped, error) {
			return Mapped{}, ct2fluent.Skip("not-selected")
		}, ct2fluent.Skipped, "not-selected"},
		{"fails and is tried again", func(context.Context, *commercetools.Customer, Mapped) (Mapped, error) {
			return Mapped{}, plain
		}, ct2fluent.Retry, ""},
		{"takes the email away", func(_ context.Context, _ *commercetools.Customer, m Mapped) (Mapped, error) {
			m.PrimaryEmail = " "
			return m, nil
		}, ct2fluent.Dead, "no-email"},
		{"makes a name too long", func(_ context.Context, _ *commercetools.Customer, m Mapped) (Mapped, error) {
			m.LastName = strings.Repeat("é", 51)
			return m, nil
		}, ct2fluent.Dead, "too-long"},
		{"gives no JSON", attribute(fluent.Attribute{Name: "tier", Type: "STRING", Value: json.RawMessage(`gold`)}), ct2fluent.Dead, "mapping"},
		{"gives the id attribute", attribute(fluent.Attribute{Name: "commercetoolsId", Type: "STRING", Value: json.RawMessage(`"2"`)}), ct2fluent.Dead, "mapping"},
		{"gives an attribute twice", attribute(fluent.Attribute{Name: "a", Type: "STRING"}, fluent.Attribute{Name: "a", Type: "STRING"}), ct2fluent.Dead, "mapping"},
	}
	base := mustCompile(t, MappingConfig{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := base.Wrap("test", tt.f).Apply(t.Context(), jane, "shop", "1")
			if o, reason, _ := ct2fluent.OutcomeOf(err); o != tt.want || reason != tt.reason {
				t.Errorf("%v %q, want %v %q: %v", o, reason, tt.want, tt.reason, err)
			}
		})
	}
	if got, err := base.Apply(t.Context(), jane, "shop", "1"); err != nil || got.LastName != "Doe" {
		t.Errorf("wrapping changed the mapping that was wrapped: %v", err)
	}
}

// Two customers with the same values have different hashes, one customer
// always the same, and the username is not in it.
func TestHash(t *testing.T) {
	m := Mapped{PrimaryEmail: "a@b.c", Attributes: []fluent.Attribute{{Name: "n", Type: "JSON", Value: json.RawMessage(`{"a": 1}`)}}}
	spaced := m
	spaced.Attributes = []fluent.Attribute{{Name: "n", Type: "JSON", Value: json.RawMessage(`{ "a":1 }`)}}
	spaced.Username = "other"
	if m.hash("1") != spaced.hash("1") {
		t.Error("spaces or the username change the hash")
	}
	if m.hash("1") == m.hash("2") {
		t.Error("two customers have one hash")
	}
	cleared := m
	cleared.Attributes = []fluent.Attribute{{Name: "n", Type: "JSON"}}
	if m.hash("1") == cleared.hash("1") {
		t.Error("an attribute that is gone does not change the hash")
	}
}

func mustCompile(t testing.TB, c MappingConfig) *Mapping {
	t.Helper()
	m, err := CompileMapping(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
