package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ct2fluent/ct2fluent/inbox/sendertest"
)

// A call is one request, and what is to become of it.
type call struct {
	name   string
	method string // default POST
	query  string
	header map[string]string
	body   string // default {"a":1}
	status int
	say    string // a part of the answer
	kept   bool
}

// calls makes them of a source that is in front of kept.
func calls(t *testing.T, o Options, cs []call) *bench {
	t.Helper()
	puts := 0
	o.Path = "/in"
	b := start(t, o, func(context.Context, []byte) error { puts++; return nil })
	for _, c := range cs {
		puts = 0
		method, body := c.method, c.body
		if method == "" {
			method = http.MethodPost
		}
		if body == "" && method == http.MethodPost {
			body = `{"a":1}`
		}
		req, err := http.NewRequestWithContext(t.Context(), method, "http://webhook/in"+c.query, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range c.header {
			req.Header.Set(name, value)
		}
		resp, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		_, _ = said.ReadFrom(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || (puts == 1) != c.kept || !strings.Contains(said.String(), c.say) {
			t.Errorf("%s: %d %q, %d puts; want %d %q, kept %v", c.name, resp.StatusCode, said.String(), puts, c.status, c.say, c.kept)
		}
		if resp.StatusCode == http.StatusUnauthorized && resp.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%s: 401 without WWW-Authenticate", c.name)
		}
	}
	return b
}

func TestBasic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		basic := func(user, password string) map[string]string {
			r := &http.Request{Header: http.Header{}}
			r.SetBasicAuth(user, password)
			return map[string]string{"Authorization": r.Header.Get("Authorization")}
		}
		calls(t, Options{Auth: Basic("eventbridge", secret)}, []call{
			{name: "right", header: basic("eventbridge", token), status: 202, kept: true},
			{name: "none", status: 401},
			{name: "another user", header: basic("eventbridg", token), status: 401},
			{name: "another password", header: basic("eventbridge", token+"x"), status: 401},
			{name: "no password", header: basic("eventbridge", ""), status: 401},
			{name: "the password as a token", header: map[string]string{"Authorization": "Bearer " + token}, status: 401},
			{name: "no base64", header: map[string]string{"Authorization": "Basic " + token}, status: 401},
		}).stop()
	})
}

func TestAPIKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls(t, Options{Auth: APIKey("X-Door-Key", secret)}, []call{
			{name: "right", header: map[string]string{"X-Door-Key": token}, status: 202, kept: true},
			{name: "the name in other letters", header: map[string]string{"x-door-key": token}, status: 202, kept: true},
			{name: "none", status: 401},
			{name: "wrong", header: map[string]string{"X-Door-Key": "x" + token}, status: 401},
			{name: "empty", header: map[string]string{"X-Door-Key": ""}, status: 401},
			{name: "in another header", header: map[string]string{"X-Api-Key": token}, status: 401},
		}).stop()
	})
}

func TestEventGrid(t *testing.T) {
	const validation = `[{"id":"2d1781af","topic":"/subscriptions/1","subject":"","data":{"validationCode":"512d38b6-c7b8","validationUrl":"https://evil.example"},` +
		`"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2026-01-01T00:00:00Z","metadataVersion":"1","dataVersion":"1"}]`
	key := map[string]string{"aeg-sas-key": token}
	hello := map[string]string{"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
	synctest.Test(t, func(t *testing.T) {
		b := calls(t, Options{Auth: EventGrid(EventGridOptions{Key: secret})}, []call{
			{name: "the key in the header", header: key, status: 202, kept: true},
			{name: "the key in the URL", query: "?code=correct%20horse", status: 202, kept: true},
			{name: "none", status: 401},
			{name: "wrong", header: map[string]string{"aeg-sas-key": "x"}, query: "?code=y", status: 401},
			{name: "empty", header: map[string]string{"aeg-sas-key": ""}, query: "?code=", status: 401},
			{name: "the validation event", header: key, body: validation, status: 200, say: `{"validationResponse":"512d38b6-c7b8"}`},
			{name: "the validation event without a key", body: validation, status: 401},
			{name: "an event that only speaks of one", header: key, body: `[{"eventType":"x","data":{"text":"Microsoft.EventGrid.SubscriptionValidationEvent"}}]`, status: 202, kept: true},
			{name: "OPTIONS", method: "OPTIONS", header: hello, status: 200},
			{name: "OPTIONS with the key", method: "OPTIONS", header: hello, query: "?code=correct%20horse", status: 200},
			{name: "OPTIONS with a wrong key", method: "OPTIONS", header: hello, query: "?code=x", status: 401},
			{name: "OPTIONS of nobody", method: "OPTIONS", status: 400},
			{name: "OPTIONS of a browser", method: "OPTIONS", header: map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}, status: 400},
			{name: "GET", method: "GET", header: key, status: 405},
		})
		req, _ := http.NewRequest("OPTIONS", "http://webhook/in", nil)
		for name, value := range hello {
			req.Header.Set(name, value)
		}
		resp, err := b.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if h := resp.Header; h.Get("WebHook-Allowed-Origin") != "eventgrid.azure.net" || h.Get("WebHook-Allowed-Rate") != "120" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("the handshake says %v", h)
		}
		b.stop()
	})
	// Of the others none knows OPTIONS.
	synctest.Test(t, func(t *testing.T) {
		calls(t, Options{Auth: Token(secret)}, []call{{name: "OPTIONS", method: "OPTIONS", header: hello, status: 405}}).stop()
	})
}

func TestPubSub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sendertest.New(t)
		auth := func() Auth {
			return PubSub(PubSubOptions{Audience: sendertest.Audience, ServiceAccount: sendertest.Account, Client: s.Client()})
		}
		bring := func(token string) map[string]string { return map[string]string{"Authorization": "Bearer " + token} }
		with := func(claims map[string]any) map[string]string { return bring(s.Token("", claims)) }
		now := time.Now()
		b := calls(t, Options{Auth: auth()}, []call{
			{name: "right", header: with(nil), status: 202, kept: true},
			{name: "the issuer's bare name", header: with(map[string]any{"iss": "accounts.google.com"}), status: 202, kept: true},
			{name: "none", status: 401},
			{name: "no JWT", header: bring(token), status: 401},
			{name: "another's signature", header: bring(s.Forged(nil)), status: 401},
			{name: "another algorithm", header: bring(s.Odd(nil)), status: 401},
			{name: "no signature", header: bring("eyJhbGciOiJub25lIn0." + strings.Split(s.Token("", nil), ".")[1] + "."), status: 401},
			{name: "another audience", header: with(map[string]any{"aud": "https://other.example"}), status: 401},
			{name: "another issuer", header: with(map[string]any{"iss": "https://evil.example"}), status: 401},
			{name: "another account", header: with(map[string]any{"email": "x@project.iam.gserviceaccount.com"}), status: 401},
			{name: "an account that is not verified", header: with(map[string]any{"email_verified": false}), status: 401},
			{name: "no word of it", header: with(map[string]any{"email_verified": nil}), status: 401},
			{name: "no end", header: with(map[string]any{"exp": nil}), status: 401},
			{name: "run out", header: with(map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}), status: 401},
			{name: "of the future", header: with(map[string]any{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()}), status: 401},
			{name: "very long", header: with(map[string]any{"x": strings.Repeat("x", maxToken)}), status: 401},
		})
		if n := len(s.Asked()); n != 1 {
			t.Errorf("the keys were asked for %d times, want once", n)
		}
		b.stop()
		if strings.Contains(b.log.String(), "gserviceaccount") {
			t.Errorf("the log names the account:\n%s", b.log.String())
		}
	})
}

// Keys that are renewed are found, and asked for rarely whatever comes.
func TestPubSubKeysAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sendertest.New(t)
		b := start(t, Options{Auth: PubSub(PubSubOptions{Audience: sendertest.Audience, ServiceAccount: sendertest.Account, Client: s.Client()})}, kept)
		status := func(key string) int {
			resp, _ := b.send(t, "POST", "/notifications", "Bearer "+s.Token(key, nil), "{}", false)
			return resp.StatusCode
		}
		expect := func(what, key string, want, asked int) {
			t.Helper()
			if got := status(key); got != want || len(s.Asked()) != asked {
				t.Errorf("%s: %d after %d questions, want %d after %d", what, got, len(s.Asked()), want, asked)
			}
		}
		s.Serve(sendertest.KeysURL, 0, nil)
		expect("no key can be had", "", 503, 1)
		s.Serve(sendertest.KeysURL, 200, s.Keys("key-1"))
		expect("not asked again at once", "", 503, 1)
		time.Sleep(keysAskAgain)
		expect("they come", "", 202, 2)
		s.Serve(sendertest.KeysURL, 200, s.Keys("key-2"))
		expect("another key within the minute", "key-2", 401, 2)
		time.Sleep(keysAskAgain)
		expect("another key", "key-2", 202, 3)
		expect("the old one is gone with the set", "", 401, 3)
		s.Serve(sendertest.KeysURL, 500, nil)
		time.Sleep(keysFresh)
		expect("a set that cannot be renewed holds on", "key-2", 202, 4)
		time.Sleep(keysStale)
		expect("but not for ever", "key-2", 503, 5)
		s.Serve(sendertest.KeysURL, 302, []byte("https://evil.example/keys"))
		time.Sleep(keysAskAgain)
		expect("nobody is followed", "key-2", 503, 6)
		for _, u := range s.Asked() {
			if u != sendertest.KeysURL {
				t.Errorf("asked for %s", u)
			}
		}
		b.stop()
	})
}

func TestSNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sendertest.New(t)
		const n = "Notification"
		auth := SNS(SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots()})
		message := func(kind, version string, given map[string]string) string {
			return string(s.Message(kind, version, given))
		}
		changed := func(was, is string) string {
			m := message(n, "2", nil)
			if c := strings.Replace(m, was, is, 1); c != m {
				return c
			}
			t.Fatalf("%s does not hold %s", m, was)
			return ""
		}
		at := func(d time.Duration) map[string]string {
			return map[string]string{"Timestamp": time.Now().UTC().Add(d).Format("2006-01-02T15:04:05.000Z")}
		}
		cert := func(u string) string { return message(n, "2", map[string]string{"SigningCertURL": u}) }
		b := calls(t, Options{Auth: auth}, []call{
			{name: "version 2", body: message(n, "2", nil), status: 202, kept: true},
			{name: "version 1", body: message(n, "1", nil), status: 202, kept: true},
			{name: "with a subject", body: message(n, "1", map[string]string{"Subject": "a"}), status: 202, kept: true},
			{name: "59 minutes old", body: message(n, "2", at(-59*time.Minute)), status: 202, kept: true},
			{name: "no message", body: "hello", status: 401},
			{name: "no signature", body: `{"Type":"Notification","TopicArn":"` + sendertest.Topic + `","Message":"{}"}`, status: 401},
			{name: "another message", body: changed(`{\"a\":1}`, `{\"a\":2}`), status: 401, say: "signature"},
			{name: "another time", body: changed(`"Timestamp":"2`, `"Timestamp":"2`+"0"), status: 401},
			{name: "an added subject", body: changed(`"Type"`, `"Subject":"x","Type"`), status: 401, say: "signature"},
			{name: "the other version", body: changed(`"SignatureVersion":"2"`, `"SignatureVersion":"1"`), status: 401, say: "signature"},
			{name: "a version that is none", body: changed(`"SignatureVersion":"2"`, `"SignatureVersion":"3"`), status: 401, say: "version"},
			{name: "another type", body: changed(`"Type":"Notification"`, `"Type":"UnsubscribeConfirmation"`), status: 401},
			{name: "another topic", body: message(n, "2", map[string]string{"TopicArn": sendertest.Topic + "-2"}), status: 401, say: "another topic"},
			{name: "another topic, as its header says", body: message(n, "2", nil), header: map[string]string{"x-amz-sns-topic-arn": "arn:x"}, status: 401, say: "another topic"},
			{name: "raw delivery", header: map[string]string{"x-amz-sns-rawdelivery": "true"}, status: 401, say: "turn it off"},
			{name: "a replay", body: message(n, "2", at(-61*time.Minute)), status: 401, say: "older"},
			{name: "from the future", body: message(n, "2", at(61*time.Minute)), status: 401},
			{name: "certificate over http", body: cert("http://sns.eu-central-1.amazonaws.com/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate of another host", body: cert("https://evil.example/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate of S3", body: cert("https://sns.s3.amazonaws.com/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate below SNS", body: cert("https://sns.eu-central-1.amazonaws.com.evil.example/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate with a user", body: cert("https://sns.eu-central-1.amazonaws.com@evil.example/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate on another port", body: cert("https://sns.eu-central-1.amazonaws.com:8443/a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate with a query", body: cert("https://sns.eu-central-1.amazonaws.com/?a.pem"), status: 401, say: "host of SNS"},
			{name: "certificate of another ending", body: cert("https://sns.eu-central-1.amazonaws.com/a.crt"), status: 401, say: "host of SNS"},
		})
		if asked := s.Asked(); len(asked) != 1 || asked[0] != sendertest.CertURL {
			t.Errorf("asked for %q, want the certificate once", asked)
		}
		b.stop()
	})
}

// What is kept is what SNS has signed, and nothing that stands beside it.
func TestSNSKeepsWhatIsSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sendertest.New(t)
		var got []byte
		b := start(t, Options{Auth: SNS(SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots()})},
			func(_ context.Context, body []byte) error { got = body; return nil })
		body := strings.Replace(string(s.Message("Notification", "2", nil)), "{", `{"notificationType":"ResourceUpdated","resource":{"typeId":"customer","id":"x"},`, 1)
		if resp, say := b.send(t, "POST", "/notifications", "", body, false); resp.StatusCode != 202 {
			t.Fatalf("%d %s", resp.StatusCode, say)
		}
		var kept map[string]any
		if err := json.Unmarshal(got, &kept); err != nil || kept["notificationType"] != nil || kept["Message"] != `{"a":1}` || kept["Type"] != "Notification" {
			t.Errorf("kept %s (%v)", got, err)
		}
		b.stop()
	})
}

func TestSNSCertificates(t *testing.T) { synctest.Test(t, testSNSCertificates) }

func testSNSCertificates(t *testing.T) {
	s := sendertest.New(t)
	year := time.Now().AddDate(1, 0, 0)
	tests := []struct {
		name   string
		status int
		pem    []byte
		want   int
	}{
		{"of an opt-in region", 200, s.Certificate("sns-signing.ap-east-1.amazonaws.com", year), 202},
		{"of China", 200, s.Certificate("sns-cn-north-1.amazonaws.com.cn", year), 202},
		{"of another name", 200, s.Certificate("evil.example", year), 401},
		{"of a name that begins alike", 200, s.Certificate("sns.amazonaws.com.evil.example", year), 401},
		{"run out", 200, s.Certificate("sns.amazonaws.com", time.Now().Add(-time.Minute)), 401},
		{"not valid yet", 200, s.Certificate("sns.amazonaws.com", time.Now().AddDate(2, 1, 0)), 401},
		{"of a chain that nobody knows", 200, s.Stray("sns.amazonaws.com"), 401},
		{"no PEM", 200, []byte("hello"), 401},
		{"a redirect", 302, []byte("https://evil.example/c.pem"), 503},
		{"not there", 403, nil, 503},
		{"no answer", 0, nil, 503},
		{"without end", 200, bytes.Repeat([]byte("x"), maxPEM+1), 503},
	}
	for i, tt := range tests {
		url := fmt.Sprintf("https://sns.eu-central-1.amazonaws.com/c%d.pem", i)
		s.Serve(url, tt.status, tt.pem)
		body := string(s.Message("Notification", "2", map[string]string{"SigningCertURL": url}))
		auth := SNS(SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots()})
		calls(t, Options{Auth: auth}, []call{{name: tt.name, body: body, status: tt.want, kept: tt.want == 202}}).stop()
	}
	for _, u := range s.Asked() {
		if strings.Contains(u, "evil") {
			t.Errorf("asked for %s", u)
		}
	}
}

// A subscription is confirmed by a request to SNS, whatever the message says
// where to; and those who post cannot have many made.
func TestSNSConfirms(t *testing.T) { synctest.Test(t, testSNSConfirms) }

func testSNSConfirms(t *testing.T) {
	s := sendertest.New(t)
	const kind = "SubscriptionConfirmation"
	to := func(u string) string { return string(s.Message(kind, "2", map[string]string{"SubscribeURL": u})) }
	const q = "?Action=ConfirmSubscription&TopicArn=" + sendertest.Topic + "&Token=t"
	refuse := func(name, u string) call { return call{name: name, body: to(u), status: 401} }
	var log bytes.Buffer
	auth := SNS(SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	b := calls(t, Options{Auth: auth}, []call{
		{name: "right", body: string(s.Message(kind, "2", nil)), status: 200, say: "confirmed"},
		{name: "by signature 1", body: string(s.Message(kind, "1", nil)), status: 200, say: "confirmed"},
		refuse("elsewhere", "https://evil.example/"+q),
		refuse("inside", "http://169.254.169.254/latest/meta-data"),
		refuse("without TLS", "http://sns.eu-central-1.amazonaws.com/"+q),
		refuse("as a user", "https://sns.eu-central-1.amazonaws.com@evil.example/"+q),
		refuse("on another port", "https://sns.eu-central-1.amazonaws.com:22/"+q),
		refuse("of another service", "https://sqs.eu-central-1.amazonaws.com/"+q),
		refuse("another action", "https://sns.eu-central-1.amazonaws.com/?Action=Unsubscribe&TopicArn="+sendertest.Topic+"&Token=t"),
		refuse("another topic's", "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-central-1:000000000000:x&Token=t"),
		{name: "of another topic", body: string(s.Message(kind, "2", map[string]string{"TopicArn": "arn:aws:sns:eu-central-1:000000000000:x"})), status: 401},
		{name: "another's signature", body: strings.Replace(string(s.Message(kind, "2", nil)), "ConfirmSubscription", "Confirmsubscription", 1), status: 401},
		{name: "the end", body: string(s.Message("UnsubscribeConfirmation", "2", nil)), status: 200, say: "noted"},
	})
	asked := s.Asked()
	if len(asked) != 3 || asked[0] != sendertest.CertURL || asked[1] != asked[2] || !strings.HasPrefix(asked[1], "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37fb687f5d51e6e2425&TopicArn=arn") {
		t.Errorf("asked for %q", asked)
	}
	// A redirect is followed by nobody, and is no confirmation.
	s.Serve("https://sns.eu-central-1.amazonaws.com/", 302, []byte("https://evil.example/"))
	if resp, _ := b.send(t, "POST", "/in", "", string(s.Message(kind, "2", nil)), false); resp.StatusCode != 503 {
		t.Errorf("a redirect: %d, want 503", resp.StatusCode)
	}
	for range 50 {
		b.send(t, "POST", "/in", "", string(s.Message(kind, "2", nil)), false)
	}
	if n := len(s.Asked()); n > fetchBurst {
		t.Errorf("%d requests were made at once, want %d at most", n, fetchBurst)
	}
	for _, u := range s.Asked() {
		if !strings.HasPrefix(u, "https://sns.eu-central-1.amazonaws.com/") {
			t.Errorf("asked for %s", u)
		}
	}
	b.stop()
	if said := log.String() + b.log.String(); strings.Contains(said, "2336412f37fb687f5d51e6e2425") || !strings.Contains(said, "has ended") {
		t.Errorf("log:\n%s", said)
	}
}

// Certificates that are kept are few, and those in use stay.
func TestSNSCertificatesAreFew(t *testing.T) { synctest.Test(t, testSNSCertificatesAreFew) }

func testSNSCertificatesAreFew(t *testing.T) {
	s := sendertest.New(t)
	auth := SNS(SNSOptions{TopicARN: sendertest.Topic, Client: s.Client(), Roots: s.Roots()}).(*sns)
	year := time.Now().AddDate(1, 0, 0)
	use := func(url string) {
		t.Helper()
		time.Sleep(fetchEvery)
		if _, err := auth.certs.key(t.Context(), url); err != nil {
			t.Error(err)
		}
	}
	use(sendertest.CertURL)
	for i := range 3 * maxCertificates {
		url := fmt.Sprintf("https://sns.eu-central-1.amazonaws.com/c%d.pem", i)
		s.Serve(url, 200, s.Certificate("sns.amazonaws.com", year))
		use(url)
		use(sendertest.CertURL)
	}
	if n := len(auth.certs.kept); n > maxCertificates {
		t.Errorf("%d are kept", n)
	}
	before := len(s.Asked())
	use(sendertest.CertURL)
	if len(s.Asked()) != before {
		t.Error("the one in use was forgotten")
	}
	time.Sleep(certificateAge)
	use(sendertest.CertURL)
	if len(s.Asked()) != before+1 {
		t.Error("it is never fetched again")
	}
}
