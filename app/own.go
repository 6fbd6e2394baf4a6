package app

import (
	"fmt"

	"github.com/ct2fluent/ct2fluent"
	"github.com/ct2fluent/ct2fluent/route"
)

// ownRoute is the route of the customers that ct2fluent itself has worked: by
// a bulk run, a sync or a repair. It is empty where no route leads to the
// handler of that.
func ownRoute(r *route.Router, project string) string {
	return r.RouteOf(&ct2fluent.Notification{Ref: ct2fluent.Ref{Project: project, TypeID: "customer"}, Own: true})
}

// noOwnRoute says what is wrong and what to do about it.
const (
	noOwnRoute     = "no route of customers leads to " + defaultHandler + ", which works what bulk runs, sync and reconcile --fix put"
	remedyOwnRoute = "give routes one whose handler-name is " + defaultHandler + ", and a route-mapping with props.name customer to it"
)

// canPut refuses work that puts customers where none would reach Fluent.
func (a *App) canPut(project string) error {
	if ownRoute(a.router, project) == "" {
		return fmt.Errorf("%s; %s", noOwnRoute, remedyOwnRoute)
	}
	return nil
}

// unroutedOwn warns where a bulk run, a sync or a repair would be refused.
func unroutedOwn(p *plan) []Finding {
	if ownRoute(p.router, "") != "" {
		return nil
	}
	return []Finding{{What: "routes", State: "warning", Detail: noOwnRoute, Remedy: remedyOwnRoute}}
}
