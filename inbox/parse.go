package inbox

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ct2fluent/ct2fluent"
)

// The faults of a notification that no handler can work.
const (
	unreadable     = "unreadable"      // no JSON, or not the sense a notification has
	noResource     = "no-resource"     // readable, and about no resource
	unknownProject = "unknown-project" // of no account
)

const (
	// SNS around EventBridge around CloudEvents in an array needs four. Each
	// level reads its content again, so that a limit bounds the work.
	maxDepth = 8
	// More of the shortest notifications than a body of 1 MiB has room for:
	// only rubbish such as [0,0,0,…] would become more.
	maxCount = 1000
	// The longest identifier of commercetools has 256 characters.
	maxName = 256
)

// Parse reads the notifications of a body: bare ones in commercetools' Platform
// format, those in CloudEvents, EventBridge, SNS, Pub/Sub push and Event Grid,
// arrays of them, and one wrapping around another. It never fails and always
// returns at least one: what cannot be read has its Fault set and the body as
// it came. Without a Fault, Ref names a type and an id; its Project is empty
// where neither the notification nor a wrapping tells it (see [Assign]).
//
// The bodies returned are parts of body: neither may be written to afterwards.
func Parse(body []byte, received time.Time) []ct2fluent.Notification {
	p := parser{received: received}
	p.text(body, place{origin: body})
	if len(p.found) > maxCount {
		p.found = nil
		p.fault(unreadable, place{origin: body})
	}
	return p.found
}

// Assign gives the notifications that name no project the only one there is,
// and marks those of a project that is not among projects as faulty. The test
// notification of a subscription is left in peace: there is nothing to work.
func Assign(ns []ct2fluent.Notification, projects []string) {
	for i := range ns {
		n := &ns[i]
		if n.Ref.Project == "" && n.Ref.ID != "" && len(projects) == 1 {
			ofChange := n.ID == changeID(n)
			n.Ref.Project = projects[0]
			if ofChange {
				n.ID = changeID(n)
			}
		}
		if n.Fault == "" && !n.Test && !slices.Contains(projects, n.Ref.Project) {
			n.Fault = unknownProject
		}
	}
}

type parser struct {
	received time.Time
	found    []ct2fluent.Notification
}

// A place is where in the body the parser is.
type place struct {
	origin  []byte // what is kept if this cannot be read: the body, or its element of an array
	project string // as the wrappings around tell it
	depth   int
}

func (at place) inside(project string) place {
	at.depth++
	if project != "" {
		at.project = project
	}
	return at
}

func (p *parser) fault(reason string, at place) {
	p.found = append(p.found, ct2fluent.Notification{Fault: reason, Body: at.origin, Received: p.received})
}

// text reads JSON as it came from outside, with all that may be wrong with it.
func (p *parser) text(b []byte, at place) {
	b = bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\ufeff")))
	if !utf8.Valid(b) || !json.Valid(b) {
		p.fault(unreadable, at)
		return
	}
	p.value(b, at)
}

// value reads valid JSON.
func (p *parser) value(v []byte, at place) {
	if at.depth > maxDepth {
		p.fault(unreadable, at)
		return
	}
	switch v[0] {
	case '{':
		p.object(v, at)
	case '[':
		before := len(p.found)
		for e := range elements(v) {
			in := at.inside("")
			in.origin = e
			p.value(e, in)
			if len(p.found) > maxCount {
				return
			}
		}
		// An empty array says nothing, which is no reason to drop it in silence.
		if len(p.found) == before {
			p.fault(unreadable, at)
		}
	case '"':
		p.text(unquote(v), at.inside(""))
	default:
		p.fault(unreadable, at)
	}
}

// object tells by its members what an object is.
func (p *parser) object(v []byte, at place) {
	d := read(v)
	switch {
	case given(d.notificationType):
		p.notification(v, &d, at)
	case given(d.specversion) && given(d.data):
		p.value(d.data, at.inside(cloudEventsProject(d.source)))
	case given(d.specversion) && given(d.dataBase64):
		p.base64(d.dataBase64, at.inside(cloudEventsProject(d.source)))
	case given(d.detailType) && given(d.detail):
		p.value(d.detail, at.inside(eventBridgeProject(d.source)))
	case string(unquote(d.snsType)) == "Notification" && given(d.snsMessage):
		p.value(d.snsMessage, at.inside(""))
	case given(d.pubsubData):
		p.base64(d.pubsubData, at.inside(""))
	case given(d.resource):
		p.notification(v, &d, at)
	default:
		p.fault(noResource, at)
	}
}

func (p *parser) base64(v []byte, at place) {
	b, err := base64.StdEncoding.AppendDecode(nil, unquote(v))
	if err != nil {
		p.fault(unreadable, at)
		return
	}
	p.text(b, at)
}

// notification reads the Platform format.
func (p *parser) notification(v []byte, d *document, at place) {
	var s sense
	n := ct2fluent.Notification{
		Kind:     s.name(d.notificationType),
		Body:     v,
		Received: p.received,
	}
	n.Ref = s.ref(d.resource)
	n.Ref.Project = s.name(d.projectKey)
	if n.Ref.Project == "" {
		n.Ref.Project = at.project
	}
	// The messages of commercetools' API have no notificationType.
	if n.Kind == "" && given(d.resourceVersion) {
		n.Kind = "Message"
	}
	switch n.Kind {
	case "":
		s.wrong = true
	case "Message":
		n.ID = s.name(d.id)
		n.Name = s.name(d.typ)
		if n.Name == "" {
			n.Name = s.name(d.payloadType)
		}
		// The member version is that of the message itself, always 1.
		n.Version = s.version(d.resourceVersion)
	default:
		n.Name = n.Kind
		n.Version = s.version(d.version)
	}
	switch {
	case s.wrong:
		p.fault(unreadable, at)
		return
	case n.Ref.TypeID == "" || n.Ref.ID == "":
		n.Ref, n.Fault = ct2fluent.Ref{}, noResource
	}
	if n.ID == "" && n.Fault == "" {
		n.ID = changeID(&n)
	}
	n.Test = n.Kind == "ResourceCreated" && n.Ref.TypeID == "subscription"
	p.found = append(p.found, n)
}

// changeID tells one change from all others. Without a version it cannot, and
// is empty.
func changeID(n *ct2fluent.Notification) string {
	if n.Version == 0 {
		return ""
	}
	return n.Ref.String() + "/" + strconv.FormatInt(n.Version, 10) + "/" + n.Name
}

// A document holds the members that matter of any object that may come, as
// they stand in the body; nil where there is none.
type document struct {
	// Platform
	notificationType, projectKey, id, typ, version []byte
	resource, resourceVersion, payloadType         []byte
	// CloudEvents and EventBridge
	specversion, source, data, dataBase64 []byte
	detailType, detail                    []byte
	// SNS and Pub/Sub
	snsType, snsMessage, pubsubData []byte
}

func read(object []byte) (d document) {
	for name, v := range members(object) {
		switch string(name) {
		case "notificationType":
			d.notificationType = v
		case "projectKey":
			d.projectKey = v
		case "id":
			d.id = v
		case "type":
			d.typ = v
		case "version":
			d.version = v
		case "resource":
			d.resource = v
		case "resourceVersion":
			d.resourceVersion = v
		case "payloadNotIncluded":
			d.payloadType = member(v, "payloadType")
		case "specversion":
			d.specversion = v
		case "source":
			d.source = v
		case "data":
			d.data = v
		case "data_base64":
			d.dataBase64 = v
		case "detail-type":
			d.detailType = v
		case "detail":
			d.detail = v
		case "Type":
			d.snsType = v
		case "Message":
			d.snsMessage = v
		case "message":
			d.pubsubData = member(v, "data")
		}
	}
	return d
}

// member is the value of one member of v; nil if there is none or v is no object.
func member(v []byte, name string) []byte {
	if v[0] != '{' {
		return nil
	}
	for n, value := range members(v) {
		if string(n) == name {
			return value
		}
	}
	return nil
}

// A sense reads values that must mean something: what is missing is empty,
// what cannot be meant makes the whole notification wrong.
type sense struct{ wrong bool }

// name reads an identifier or the name of something.
func (s *sense) name(v []byte) string {
	if !given(v) {
		return ""
	}
	b := unquote(v)
	if b == nil || !sane(b) {
		s.wrong = true
	}
	return string(b)
}

func sane(name []byte) bool {
	return len(name) <= maxName && !bytes.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (s *sense) version(v []byte) int64 {
	if !given(v) {
		return 0
	}
	n, ok := whole(v)
	if !ok {
		s.wrong = true
	}
	return n
}

func (s *sense) ref(v []byte) ct2fluent.Ref {
	if !given(v) {
		return ct2fluent.Ref{}
	}
	if v[0] != '{' {
		s.wrong = true
		return ct2fluent.Ref{}
	}
	return ct2fluent.Ref{TypeID: s.name(member(v, "typeId")), ID: s.name(member(v, "id"))}
}

// cloudEventsProject reads /<projectKey>/<plural>.
func cloudEventsProject(source []byte) string {
	parts := bytes.Split(unquote(source), []byte("/"))
	if len(parts) != 3 || len(parts[0]) > 0 || !sane(parts[1]) {
		return ""
	}
	return string(parts[1])
}

// eventBridgeProject reads aws.partner/commercetools.com/<projectKey>/<subscriptionKey>.
func eventBridgeProject(source []byte) string {
	rest, ours := bytes.CutPrefix(unquote(source), []byte("aws.partner/commercetools.com/"))
	key, _, _ := bytes.Cut(rest, []byte("/"))
	if !ours || !sane(key) {
		return ""
	}
	return string(key)
}
