package queue

import (
	"cmp"
	"slices"
	"time"

	"github.com/ct2fluent/ct2fluent"
)

// Pause has nothing more handed out of what h names, until Resume: of a
// project, or of what takes a route (Options.Route). What is at hand finishes;
// Pause says how many batches that may be. Nothing is asked of a paused project
// either, not even whether it works again. What is put meanwhile is kept. A
// project that is not configured has no work of its own to pause; it is only
// told by Held.
//
// A paused route does not keep what takes another one from being worked, also
// of the same resource, until 65,000 of one project and class wait for it.
func (q *Queue) Pause(h Hold) (atHand int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	atHand = q.schedule.pause(h, time.Now())
	if h.Route != "" {
		for _, l := range q.lanes {
			l.park(q.schedule.parked)
		}
	}
	return atHand
}

// Resume takes a pause back: the project's or, with an empty project, the
// route's. What waited is handed out at once. It tells whether there was one.
func (q *Queue) Resume(project, route string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.schedule.resume(project, route, time.Now())
	q.ready.Broadcast()
	return was
}

// pauses are what people have stopped.
type pauses struct {
	projects map[string]Hold
	routes   map[string]Hold
}

// all gives them in an order of their own.
func (p *pauses) all() []Hold {
	var hs []Hold
	for _, of := range []map[string]Hold{p.projects, p.routes} {
		for _, h := range of {
			hs = append(hs, h)
		}
	}
	slices.SortFunc(hs, func(a, b Hold) int { return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Route, b.Route)) })
	return hs
}

func (s *schedule) pause(h Hold, now time.Time) (atHand int) {
	if h.Route == "" {
		s.paused.projects[h.Project] = h
		if !s.projects[h.Project] {
			return 0
		}
		a := s.account(h.Project)
		a.paused = true
		return a.busy
	}
	s.paused.routes[h.Route] = h
	s.placeAll(now)
	return s.busy
}

func (s *schedule) resume(project, route string, now time.Time) (was bool) {
	if route == "" {
		_, was = s.paused.projects[project]
		delete(s.paused.projects, project)
		if s.projects[project] {
			s.account(project).paused = false
		}
		return was
	}
	_, was = s.paused.routes[route]
	delete(s.paused.routes, route)
	s.placeAll(now)
	return was
}

// placeAll puts every resource where it belongs, as the pauses are now.
func (s *schedule) placeAll(now time.Time) {
	for _, r := range s.resources {
		s.place(r, now)
	}
}

// parked tells whether a notification takes a paused route. Most of the time
// there is none, and nothing is asked.
func (s *schedule) parked(n *ct2fluent.Notification) bool {
	if len(s.paused.routes) == 0 || s.Route == nil {
		return false
	}
	_, is := s.paused.routes[s.Route(n)]
	return is
}

// stopped tells whether a batch that was taken, and not yet handed out, was
// paused meanwhile.
func (s *schedule) stopped(b *batch) bool {
	return b.account.paused || slices.ContainsFunc(b.items, func(it *item) bool { return s.parked(&it.n) })
}
