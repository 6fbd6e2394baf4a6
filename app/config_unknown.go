package app

import (
	"reflect"
	"slices"
	"strings"
)

// unknown reports the keys that no field takes. It returns the keys they were
// probably meant to be, so that these are not reported as missing too.
func (d *decoder) unknown(entries []entry, fields []field, path string) (meant map[string]bool) {
	meant = map[string]bool{}
	var known []string
	for _, f := range fields {
		if f.Tag.Get("unused") == "" {
			known = append(known, f.key)
		}
	}
	for _, e := range entries {
		key := e.key.Value
		folded := fold(key)
		if slices.ContainsFunc(fields, func(f field) bool { return f.folded == folded }) {
			continue
		}
		what := "unknown key; known here: " + strings.Join(known, ", ")
		if near := nearest(key, known); near != "" {
			meant[near] = true
			what = `unknown key; did you mean "` + near + `"?`
		} else if home := d.homes()[folded]; len(home) == 1 && home[0] != "" {
			what = `unknown key here; it belongs under "` + home[0] + `"`
		}
		d.fail(d.pos(e.key), join(path, cut(key)), "%s", what)
	}
	return meant
}

// homes lists, for each key of the file, the sections that have it.
func (d *decoder) homes() map[string][]string {
	if d.sections == nil {
		d.sections = sectionsOf(reflect.TypeFor[Config]())
	}
	return d.sections
}

func sectionsOf(t reflect.Type) map[string][]string {
	all := map[string][]string{}
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for _, f := range fieldsOf(t) {
			all[f.folded] = append(all[f.folded], path)
			ft := f.Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct && !isScalar(reflect.New(ft).Elem()) && ft != reflect.TypeFor[ListenerConfig]() {
				walk(ft, join(path, f.key))
			}
		}
	}
	walk(t, "")
	return all
}

// nearest returns the known key that a typing mistake could have made of key.
func nearest(key string, known []string) string {
	if len(key) > 64 {
		return ""
	}
	best, least := "", len(key)
	for _, k := range known {
		a, b := fold(key), fold(k)
		if n := distance(a, b); n <= max(1, min(len(a), len(b))/3) && n < least {
			best, least = k, n
		}
	}
	return best
}

// distance counts the letters to insert, remove or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// cut keeps an absurd text from filling the screen.
func cut(text string) string {
	if r := []rune(text); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return text
}
