package fluent

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// fruitlessLimit is how many requests in a row may fail, with nothing that
// succeeds and nothing that Fluent refuses, before the rest is not tried: then
// it is not the writes. To find the one bad write of 200 takes nine.
const fruitlessLimit = 20

// Write creates and updates customers, as many in one request as Fluent takes,
// one request after the other. It returns one error for each write: nil says
// that Fluent answered that it has it, else it is an *[Error]. Writes of one
// username are applied in their order, in requests of their own.
//
// A request that clearly was not applied, of which the answer does not say
// which write is to blame, is sent again in smaller ones until each write has
// an answer of its own; when many of these fail in a row, the rest is not sent.
// Nor is anything sent after an answer that is [Unclear], [Down], [Limited] or
// [Stopped]. What was not sent is Limited or Stopped, if that is why, else Down.
func (c *Client) Write(ctx context.Context, ws []Write) []error {
	r := &round{c: c, ctx: ctx, errs: make([]error, len(ws))}
	for _, group := range c.split(r.encode(ws)) {
		r.whole = true
		r.send(group)
	}
	return r.errs
}

// A job is a write with its input as it is sent.
type job struct {
	index    int
	create   bool
	username string
	input    json.RawMessage
}

func (j job) alias() string { return fmt.Sprintf("w%d", j.index) }

// size is about what the job adds to a request, rounded up.
func (j job) size() int { return len(j.input) + 160 }

// split parts jobs into requests that Fluent takes. One username is not twice
// in a request: were the first of the two sent again, it would undo the second.
func (c *Client) split(jobs []job) (groups [][]job) {
	var group []job
	names, size := map[string]bool{}, 0
	most := c.size.get()
	for _, j := range jobs {
		if len(group) == most || size+j.size() > maxBytes || names[j.username] {
			groups, group, size = append(groups, group), nil, 0
			clear(names)
		}
		group, size = append(group, j), size+j.size()
		names[j.username] = true
	}
	if group != nil {
		groups = append(groups, group)
	}
	return groups
}

// A round is one call of Write.
type round struct {
	c         *Client
	ctx       context.Context
	errs      []error
	fruitless int    // requests in a row
	stop      *Error // for all that is not sent yet
	whole     bool   // the next request is no part of one that was undone
}

// encode makes jobs of the writes that can be sent at all.
func (r *round) encode(ws []Write) []job {
	var jobs []job
	for i, w := range ws {
		input := map[string]any{}
		maps.Copy(input, w.Fields)
		input["username"] = w.Username
		if w.Create {
			input["retailer"] = map[string]string{"id": w.RetailerID}
		}
		if len(w.Attributes) > 0 {
			input["attributes"] = w.Attributes
		}
		raw, err := json.Marshal(input)
		j := job{index: i, create: w.Create, username: w.Username, input: raw}
		switch {
		case err != nil:
			r.errs[i] = &Error{Operation: "write", Kind: Refused, Err: errUnusable}
		case j.size() > maxBytes:
			r.errs[i] = &Error{Operation: "write", Kind: TooBig, Err: errTooBig}
		default:
			jobs = append(jobs, j)
		}
	}
	return jobs
}

// send sends jobs in one request, and what is left of them in further ones,
// until each has its error or nil.
func (r *round) send(jobs []job) {
	if r.stop != nil {
		r.give(jobs, r.stop)
		return
	}
	whole := r.whole
	r.whole = false
	p, none := r.c.post(r.ctx, "write", mutation(jobs))
	if none != nil {
		r.give(jobs, none)
		r.halt(none)
		return
	}
	left, succeeded := r.read(p, jobs)
	r.count(p, succeeded)
	rest := p.rest()
	switch worst := p.heaviest(rest); {
	case worst != nil && worst.Kind.halts():
		r.give(left, p.finish("write", worst))
		if succeeded == 0 || rest != nil {
			r.halt(p.finish("write", worst))
		}
	case len(left) == 0:
		if succeeded == len(jobs) {
			r.c.size.done(len(jobs))
		}
	case len(jobs) == 1 || rest == nil && succeeded > 0:
		r.give(left, r.blame(p))
	case len(left) < len(jobs):
		r.send(left)
	default:
		if whole {
			r.c.size.undone(len(jobs))
		}
		r.send(left[:len(left)/2])
		r.send(left[len(left)/2:])
	}
}

// read takes from an answer what it says of each job, and returns those of
// which it says nothing.
func (r *round) read(p *answer, jobs []job) (left []job, succeeded int) {
	for _, j := range jobs {
		own := p.own[j.alias()]
		delete(p.own, j.alias())
		switch {
		case own != nil:
			r.errs[j.index] = j.meant(p.finish("write", own))
		case p.data[j.alias()] != nil:
			succeeded++
		default:
			left = append(left, j)
		}
	}
	for _, e := range p.own {
		p.whole = heavier(p.whole, e) // of a path that names none of ours
	}
	return left, succeeded
}

// meant corrects kinds that make no sense for a job.
func (j job) meant(e *Error) *Error {
	switch {
	case j.create && e.Kind == Missing:
		e.Kind, e.Field = Stopped, "retailer" // all else a create names is its own
	case !j.create && e.Kind == Exists:
		e.Kind = Refused
	}
	return e
}

// blame is the error of what an answer left without one.
func (r *round) blame(p *answer) *Error {
	if rest := p.rest(); rest != nil {
		return p.finish("write", rest)
	}
	return p.finish("write", &Error{Kind: Failed, Status: p.status, Err: errNull})
}

func (r *round) give(jobs []job, e *Error) {
	for _, j := range jobs {
		one := *e
		r.errs[j.index] = j.meant(&one)
	}
}

// halt keeps what is not sent yet from being sent.
func (r *round) halt(e *Error) {
	stop := *e
	if stop.Kind != Limited && stop.Kind != Stopped {
		stop.Kind = Down // it is not to share in a doubt, nor in a fault
	}
	stop.Err = errNotSent
	r.stop = &stop
}

// count finds out when it is not the writes that are to blame.
func (r *round) count(p *answer, succeeded int) {
	r.fruitless++
	if succeeded > 0 {
		r.fruitless = 0
	}
	for _, e := range p.errs {
		if e.Kind != Failed {
			r.fruitless = 0
		}
	}
	if r.fruitless == fruitlessLimit {
		r.halt(r.blame(p))
	}
}

// mutation makes one request of jobs. It selects no more than the username:
// each nested thing would need a permission of its own.
func mutation(jobs []job) request {
	var params, fields strings.Builder
	for i, j := range jobs {
		name, input := "updateCustomer", "UpdateCustomerInput"
		if j.create {
			name, input = "createCustomer", "CreateCustomerInput"
		}
		if i > 0 {
			params.WriteString(", ")
		}
		fmt.Fprintf(&params, "$%s: %s!", j.alias(), input)
		fmt.Fprintf(&fields, "%s: %s(input: $%s) { username } ", j.alias(), name, j.alias())
	}
	return request{Query: "mutation write(" + params.String() + ") { " + fields.String() + "}", inputs: jobs}
}
