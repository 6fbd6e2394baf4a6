package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A Population makes plausible customers and plausible changes of them. The
// same seed makes the same ones.
type Population struct {
	seed      uint64
	countries []countryOf
	ascii     *strings.Replacer
}

// NewPopulation returns the population of a seed.
func NewPopulation(seed uint64) *Population {
	ascii := strings.NewReplacer("ä", "ae", "ö", "oe", "ü", "ue", "ß", "ss", "é", "e", "è", "e",
		"ñ", "n", "ł", "l", "ś", "s", "ó", "o", "'", "", " ", ".")
	return &Population{seed, countries(), ascii}
}

// Draft is the draft of the i-th customer. No two have one email.
func (p *Population) Draft(i int) map[string]any {
	rng := rand.New(rand.NewPCG(p.seed, uint64(i)*2))
	c := p.countries[rng.IntN(len(p.countries))]
	first, last := pick(rng, c.first), pick(rng, c.last)
	draft := map[string]any{"email": p.email(rng, first, last, i), "addresses": []any{}}
	some(rng, 0.95, func() { draft["firstName"] = first })
	some(rng, 0.97, func() { draft["lastName"] = last })
	some(rng, 0.3, func() { draft["salutation"] = pick(rng, c.salutation) })
	some(rng, 0.1, func() { draft["title"] = "Dr." })
	some(rng, 0.8, func() { draft["customerNumber"] = fmt.Sprintf("C%07d", i) })
	some(rng, 0.5, func() { draft["locale"] = c.locale })
	some(rng, 0.2, func() { draft["dateOfBirth"] = date(rng) })
	some(rng, 0.1, func() { draft["companyName"] = last + " & Co. <" + c.code + ">" })
	var addresses []any
	for range rng.IntN(4) {
		addresses = append(addresses, address(rng, c, first, last))
	}
	if n := len(addresses); n > 0 {
		draft["addresses"] = addresses
		some(rng, 0.7, func() { draft["defaultShippingAddress"] = rng.IntN(n) })
		some(rng, 0.6, func() { draft["defaultBillingAddress"] = rng.IntN(n) })
	}
	some(rng, 0.5, func() {
		fields := map[string]any{"newsletter": rng.IntN(2) == 0, "points": rng.IntN(10_000)}
		// Larger than a float64 holds exactly.
		some(rng, 0.3, func() { fields["loyaltyId"] = 9_007_199_254_740_993 + rng.Int64N(1_000_000) })
		some(rng, 0.3, func() { fields["sizes"] = []any{"M", "42"} })
		draft["custom"] = map[string]any{"type": map[string]any{"typeId": "type", "key": "customer-fields"}, "fields": fields}
	})
	return draft
}

// Change returns the update actions of the n-th change, made for a customer as
// doc says it is now.
func (p *Population) Change(n int, doc map[string]any) []map[string]any {
	rng := rand.New(rand.NewPCG(p.seed, uint64(n)*2+1))
	actions := []map[string]any{p.action(rng, n, doc)}
	some(rng, 0.25, func() { actions = append(actions, p.action(rng, n, doc)) })
	return actions
}

func (p *Population) action(rng *rand.Rand, n int, doc map[string]any) map[string]any {
	c := p.countries[rng.IntN(len(p.countries))]
	first, last := pick(rng, c.first), pick(rng, c.last)
	addresses, _ := objects(doc["addresses"])
	kind := rng.IntN(12)
	if len(addresses) == 0 && kind >= 7 && kind <= 9 {
		kind = 6
	}
	switch kind {
	case 0, 1:
		return map[string]any{"action": "setFirstName", "firstName": first}
	case 2, 3:
		return map[string]any{"action": "setLastName", "lastName": last}
	case 4:
		return map[string]any{"action": "changeEmail", "email": p.email(rng, first, last, -n-1)}
	case 5:
		if rng.IntN(2) == 0 {
			return map[string]any{"action": "setSalutation"}
		}
		return map[string]any{"action": "setTitle", "title": "Prof."}
	case 6:
		return map[string]any{"action": "addAddress", "address": address(rng, c, first, last)}
	case 7:
		return map[string]any{"action": "changeAddress", "addressId": anyID(rng, addresses), "address": address(rng, c, first, last)}
	case 8:
		return map[string]any{"action": "setDefaultShippingAddress", "addressId": anyID(rng, addresses)}
	case 9:
		return map[string]any{"action": "setDefaultBillingAddress", "addressId": anyID(rng, addresses)}
	case 10:
		if doc["custom"] != nil {
			return map[string]any{"action": "setCustomField", "name": "newsletter", "value": rng.IntN(2) == 0}
		}
		return map[string]any{"action": "setMiddleName", "middleName": first}
	}
	return map[string]any{"action": "setLocale", "locale": c.locale}
}

// Fill makes the first n customers of the population.
func (p *Population) Fill(s *CommerceTools, n int) error {
	for i := range n {
		if _, err := s.Create(p.Draft(i)); err != nil {
			return fmt.Errorf("sandbox: customer %d: %w", i, err)
		}
	}
	return nil
}

func some(rng *rand.Rand, probability float64, do func()) {
	if rng.Float64() < probability {
		do()
	}
}

func pick(rng *rand.Rand, list []string) string { return list[rng.IntN(len(list))] }

func anyID(rng *rand.Rand, addresses []map[string]any) string {
	return text(addresses[rng.IntN(len(addresses))], "id")
}

// email is made of the name and of a number that no other customer has; at
// times with what mail servers allow and few programs expect.
func (p *Population) email(rng *rand.Rand, first, last string, i int) string {
	name := p.ascii.Replace(strings.ToLower(first + "." + last))
	name = strings.Map(func(r rune) rune {
		if r < 'a' && r != '.' && r != '-' || r > 'z' {
			return -1
		}
		return r
	}, name)
	if name = strings.Trim(name, ".-"); name == "" {
		name = "customer"
	}
	number := fmt.Sprint(i)
	if i < 0 {
		number = "n" + fmt.Sprint(-i)
	}
	switch rng.IntN(100) {
	case 0:
		return name + "+shop." + number + "@example.com"
	case 1:
		return "100%" + name + "." + number + "@example.org"
	case 2:
		return strings.ToUpper(name[:1]) + name[1:] + "." + number + "@Example.com"
	}
	return name + "." + number + "@example.com"
}

func address(rng *rand.Rand, c countryOf, first, last string) map[string]any {
	a := map[string]any{
		"country": c.code, "firstName": first, "lastName": last, "streetName": pick(rng, c.streets),
		"streetNumber": fmt.Sprint(1 + rng.IntN(200)), "postalCode": fmt.Sprintf("%05d", rng.IntN(100_000)), "city": pick(rng, c.cities),
	}
	some(rng, 0.4, func() { a["mobile"] = fmt.Sprintf("%s1%09d", c.dial, rng.IntN(1_000_000_000)) })
	some(rng, 0.4, func() { a["phone"] = fmt.Sprintf("%s 30 %07d", c.dial, rng.IntN(10_000_000)) })
	some(rng, 0.1, func() { a["additionalStreetInfo"] = "c/o \"" + last + "\"" })
	return a
}

func date(rng *rand.Rand) string {
	return fmt.Sprintf("%d-%02d-%02d", 1940+rng.IntN(65), 1+rng.IntN(12), 1+rng.IntN(28))
}

type countryOf struct {
	code, locale, dial                       string
	salutation, first, last, streets, cities []string
}

func countries() []countryOf {
	return []countryOf{
		{"DE", "de-DE", "+49", []string{"Frau", "Herr"},
			[]string{"Jürgen", "Anna-Lena", "Sören", "Katharina", "Björn", "Ulrike"},
			[]string{"Müller", "Großmann", "von der Tann", "Schäfer", "Weiß"},
			[]string{"Hauptstraße", "Am Güterbahnhof", "Lindenallee"}, []string{"Köln", "München", "Görlitz"}},
		{"FR", "fr-FR", "+33", []string{"Madame", "Monsieur"},
			[]string{"Zoé", "François", "Hélène", "Loïc"},
			[]string{"Lefèvre", "D'Arcy", "Saint-Exupéry", "Noël"},
			[]string{"Rue de l'Église", "Boulevard Voltaire"}, []string{"Orléans", "Besançon"}},
		{"PL", "pl-PL", "+48", []string{"Pani", "Pan"},
			[]string{"Łukasz", "Małgorzata", "Świętosława"},
			[]string{"Wiśniewski", "Żółć", "Kowalska"},
			[]string{"ulica Świętokrzyska", "Aleje Jerozolimskie"}, []string{"Łódź", "Kraków"}},
		{"JP", "ja-JP", "+81", []string{"様"},
			[]string{"さくら", "健太", "Yuki"}, []string{"田中", "Suzuki", "渡辺"},
			[]string{"銀座", "Chuo-dori"}, []string{"東京", "Osaka"}},
		{"US", "en-US", "+1", []string{"Mrs.", "Mr.", "Mx."},
			[]string{"Mary Jo", "Siobhán", "Chloë", "Bob", "😀 Joy"},
			[]string{"O'Neil", "Smith-Jones", "Nuñez", "Li"},
			[]string{"5th Avenue", "Martin Luther King Jr. Blvd"}, []string{"New York", "San José"}},
	}
}
