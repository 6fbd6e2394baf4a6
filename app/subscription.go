package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/ct2fluent/ct2fluent/commercetools"
)

// A SubscriptionPlan is how a Subscription differs from its configuration, and
// what would be done about it.
type SubscriptionPlan struct {
	Project string `json:"project"`
	Key     string `json:"key"`
	// Do is create, update, nothing, or blocked where no update can do it; unknown
	// where it could not be read.
	Do      string               `json:"do"`
	Differs []SubscriptionChange `json:"differs,omitempty"`
	Notes   []string             `json:"notes,omitempty"`
	Status  commercetools.Health `json:"status,omitempty"` // of the one that is there
	Error   string               `json:"error,omitempty"`  // it failed

	draft   commercetools.SubscriptionDraft
	version int64
	actions []commercetools.Action
}

// A SubscriptionChange is one thing that differs. No secret is in it.
type SubscriptionChange struct {
	Field string `json:"field"`
	Has   string `json:"has,omitempty"`
	Gets  string `json:"gets"`
}

// What a plan says is to be done.
const (
	doCreate  = "create"
	doUpdate  = "update"
	doNothing = "nothing"
	doBlocked = "blocked"
	doUnknown = "unknown"
)

// subscriptions are the calls that a Subscription is worked with.
type subscriptions interface {
	Subscription(ctx context.Context, key string) (*commercetools.Subscription, error)
	CreateSubscription(ctx context.Context, d commercetools.SubscriptionDraft) (*commercetools.Subscription, error)
	UpdateSubscription(ctx context.Context, key string, version int64, actions ...commercetools.Action) (*commercetools.Subscription, error)
	DeleteSubscription(ctx context.Context, key string, version int64) (*commercetools.Subscription, error)
}

// A subscriber works the Subscription of one account.
type subscriber struct {
	project string
	config  SubscriptionConfig
	calls   subscriptions
	resend  bool // send the destination again, for secrets that have changed
}

// plan reads the Subscription and compares.
func (s subscriber) plan(ctx context.Context) (SubscriptionPlan, error) {
	draft, err := s.config.draft()
	if err != nil {
		return SubscriptionPlan{}, err
	}
	has, err := s.calls.Subscription(ctx, s.config.Key)
	switch {
	case errors.Is(err, commercetools.ErrNotFound):
		has = nil
	case err != nil:
		return SubscriptionPlan{}, s.fault("read", err)
	}
	return compare(s.project, draft, has, s.resend), nil
}

// compare makes a plan of what is wanted and what is there; nil for nothing.
func compare(project string, draft commercetools.SubscriptionDraft, has *commercetools.Subscription, resend bool) SubscriptionPlan {
	p := SubscriptionPlan{Project: project, Key: draft.Key, Do: doNothing, draft: draft}
	differs := func(field, now, then string) bool {
		if now != then {
			p.Differs = append(p.Differs, SubscriptionChange{field, now, then})
		}
		return now != then
	}
	if has == nil {
		p.Do = doCreate
		for _, f := range destinationFields(draft.Destination) {
			differs("destination."+f.name, "", f.shown())
		}
		differs("changes", "", changesText(draft.Changes))
		differs("messages", "", messagesText(draft.Messages))
		differs("format", "", draft.Format.Type)
		return p
	}
	p.Status, p.version = has.Status, has.Version
	if now := cmp.Or(has.Format.Type, "Platform"); differs("format", now, draft.Format.Type) {
		p.Do = doBlocked
		p.Notes = append(p.Notes, "the format of a Subscription cannot be changed: configure another key, apply, and then remove this one")
	}
	secrets, changed := destinationDiffers(draft.Destination, has.Destination, differs)
	switch {
	case changed || resend:
		p.actions = append(p.actions, commercetools.ChangeDestination(draft.Destination))
		for _, name := range secrets {
			differs("destination."+name, "", "<secret>")
		}
		if !changed && len(secrets) == 0 {
			differs("destination", "sent once", "sent again")
		}
	case len(secrets) > 0:
		p.Notes = append(p.Notes, fmt.Sprintf("destination.%s cannot be compared, as commercetools gives no secrets back: apply --destination sends it again",
			strings.Join(secrets, ", destination.")))
	}
	if differs("changes", changesText(has.Changes), changesText(draft.Changes)) {
		p.actions = append(p.actions, commercetools.SetChanges(draft.Changes...))
	}
	if differs("messages", messagesText(has.Messages), messagesText(draft.Messages)) {
		p.actions = append(p.actions, commercetools.SetMessages(draft.Messages...))
	}
	if len(p.actions) > 0 && p.Do == doNothing {
		p.Do = doUpdate
	}
	return p
}

// A destinationField is a key of a destination as the configuration calls it.
type destinationField struct {
	name, value string
	secret      bool
}

func (f destinationField) shown() string {
	if f.secret && f.value != "" {
		return "<secret>"
	}
	return f.value
}

// destinationFields are the keys of d, its type first.
func destinationFields(d commercetools.Destination) []destinationField {
	if d == nil {
		return nil
	}
	fields := []destinationField{{name: "type", value: d.Type()}}
	v := reflect.ValueOf(d)
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name == "" {
			continue // of a destination that this program does not know
		}
		_, secret := v.Field(i).Interface().(commercetools.Secret)
		// A key that belongs to a secret is none, and shown to nobody either.
		fields = append(fields, destinationField{name, v.Field(i).String(), secret || name == "accessKey"})
	}
	return fields
}

// destinationDiffers compares what can be compared, and names the secrets.
func destinationDiffers(wants, has commercetools.Destination, differs func(field, now, then string) bool) (secrets []string, changed bool) {
	now := map[string]string{}
	for _, f := range destinationFields(has) {
		now[f.name] = f.value
	}
	for _, f := range destinationFields(wants) {
		switch {
		case f.secret && f.value != "":
			secrets = append(secrets, f.name)
		case f.value == "": // commercetools' default holds
		case differs("destination."+f.name, now[f.name], f.value):
			changed = true
		}
	}
	return secrets, changed
}

func changesText(cs []commercetools.Change) string {
	var types []string
	for _, c := range cs {
		types = append(types, c.ResourceTypeID)
	}
	slices.Sort(types)
	return strings.Join(types, ", ")
}

func messagesText(ms []commercetools.Messages) string {
	var types []string
	for _, m := range ms {
		text := m.ResourceTypeID
		if len(m.Types) > 0 {
			names := slices.Sorted(slices.Values(m.Types))
			text += " (" + strings.Join(names, ", ") + ")"
		}
		types = append(types, text)
	}
	slices.Sort(types)
	return strings.Join(types, ", ")
}

// apply makes the Subscription what its configuration says. It never removes
// one to make it anew: what changes meanwhile would be lost. tell is shown each
// plan before it is carried out.
func (s subscriber) apply(ctx context.Context, tell func(SubscriptionPlan)) (SubscriptionPlan, error) {
	for try := 0; ; try++ {
		p, err := s.plan(ctx)
		if err != nil {
			return p, err
		}
		tell(p)
		switch p.Do {
		case doNothing:
			return p, nil
		case doBlocked:
			return p, fmt.Errorf("subscription %s of project %s: %s", p.Key, p.Project, p.Notes[0])
		case doCreate:
			_, err = s.calls.CreateSubscription(ctx, p.draft)
		default:
			_, err = s.calls.UpdateSubscription(ctx, p.Key, p.version, p.actions...)
		}
		if err == nil {
			return p, nil
		}
		// Somebody else changed it, or the answer was lost: what is there now
		// says how to go on, once.
		if try > 0 || !worthReading(err) {
			return p, s.fault(p.Do, err)
		}
		if !lost(err) {
			continue
		}
		s.resend = false // it shows by the version that the destination was sent
		if after, readErr := s.plan(ctx); readErr == nil && after.Do == doNothing && after.version > p.version {
			return p, nil
		}
		return p, s.fault(p.Do, fmt.Errorf("its answer was lost, and it may still be carried out; look at it by subscription plan: %w", err))
	}
}

// remove deletes the Subscription; it is no error that there is none.
func (s subscriber) remove(ctx context.Context) (removed bool, err error) {
	for try := 0; ; try++ {
		has, err := s.calls.Subscription(ctx, s.config.Key)
		if errors.Is(err, commercetools.ErrNotFound) {
			return try > 0, nil
		}
		if err != nil {
			return false, s.fault("read", err)
		}
		_, err = s.calls.DeleteSubscription(ctx, s.config.Key, has.Version)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, commercetools.ErrNotFound):
			return false, nil
		case try > 0 || !worthReading(err):
			return false, s.fault("remove", err)
		}
	}
}

func kindOfCT(err error) commercetools.Kind {
	var e *commercetools.Error
	errors.As(err, &e)
	if e == nil {
		return commercetools.Down
	}
	return e.Kind
}

// lost tells whether a change may have been made although it failed.
func lost(err error) bool { return kindOfCT(err) == commercetools.Down }

// worthReading tells whether reading the Subscription again says more than the
// error does.
func worthReading(err error) bool {
	var e *commercetools.Error
	return lost(err) || kindOfCT(err) == commercetools.Conflict || errors.As(err, &e) && e.Code == "DuplicateField"
}

// unscoped tells whether the API client lacks a scope. What else is refused is
// a mistake in the set-up.
func unscoped(err error) bool {
	var e *commercetools.Error
	return errors.As(err, &e) && e.Kind == commercetools.Stopped && (e.Status == http.StatusForbidden || e.Code == "invalid_scope")
}

// remedyOfStopped says what to do about a call that commercetools refuses for
// good; empty where err is no such.
func remedyOfStopped(project string, err error) string {
	var e *commercetools.Error
	switch {
	case !errors.As(err, &e) || e.Kind != commercetools.Stopped:
		return ""
	case unscoped(err):
		return "the API client needs the scope manage_subscriptions:" + project
	case e.Status == 0 || e.Status == http.StatusBadRequest || e.Status == http.StatusUnauthorized:
		return "correct the credentials of accounts[].commercetools"
	}
	return "something else answers there: correct accounts[].commercetools.api-url, auth-url and project-key"
}

// fault says what to do where the set-up is wrong, and gives err its exit code.
func (s subscriber) fault(what string, err error) error {
	text := fmt.Sprintf("%s subscription %s of project %s", what, s.config.Key, s.project)
	if remedy := remedyOfStopped(s.project, err); remedy != "" {
		err = fmt.Errorf("%w; %s", err, remedy)
	}
	return ofSide(fmt.Errorf("%s: %w", text, err))
}
