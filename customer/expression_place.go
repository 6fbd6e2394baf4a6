package customer

import (
	"cmp"
	"fmt"
	"regexp"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/vm"
)

// What the library says where something is to be taken from nothing. Names of
// the environment's fields alone are read from its texts (promise 7).
var (
	ofAbsent  = regexp.MustCompile(`^cannot get (\w+) from (\w+)$`)
	ofNothing = regexp.MustCompile(`(?s)^cannot (get|fetch) .* from (<nil>|\*\S+)$|^reflect: call of reflect\.Value\.Field on zero Value$`)
)

// failure says where a run of a program has failed, and what can be done about
// it where that is known.
func failure(p *vm.Program, at *file.Error) string {
	place, remedy := at, ""
	names := ofAbsent.FindStringSubmatch(at.Message)
	switch {
	case names != nil:
		// Of a chain of fields the library tells where it begins, or ends.
		if m := memberOf(p.Node(), at.Location, names[1], names[2]); m != nil {
			place = (&file.Error{Location: m.Location()}).Bind(p.Source())
			remedy = fmt.Sprintf(": %s is absent here; write %s?.%s", names[2], names[2], names[1])
		}
	case ofNothing.MatchString(at.Message):
		if m := memberAt(p.Node(), at.Location); m != nil {
			remedy = ": what stands before it is absent here; write ?." + cmp.Or(nameOf(m), "[")
		}
	}
	return fmt.Sprintf("the expression fails at %d:%d%s", place.Line, place.Column+1, remedy)
}

// memberAt is what takes a field, or an element, at a place; nil where nothing
// does.
func memberAt(root ast.Node, at file.Location) (found *ast.MemberNode) {
	ast.Find(root, func(n ast.Node) bool {
		if m, ok := n.(*ast.MemberNode); ok && m.Location() == at {
			found = m
		}
		return false
	})
	return found
}

// memberOf is where a chain of fields, which begins or ends at a place, takes
// the field name of the field of; nil where it does not.
func memberOf(root ast.Node, at file.Location, name, of string) (found *ast.MemberNode) {
	ast.Find(root, func(end ast.Node) bool {
		var m *ast.MemberNode
		n, reached := end, end.Location() == at
		for member, ok := n.(*ast.MemberNode); ok; member, ok = n.(*ast.MemberNode) {
			if nameOf(member) == name && nameOf(member.Node) == of {
				m = member
			}
			n = member.Node
			reached = reached || n.Location() == at
		}
		if reached && m != nil {
			found = m
		}
		return false
	})
	return found
}

// nameOf is the name of a field, or of what a chain begins with; empty where it
// has none.
func nameOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		return n.Value
	case *ast.MemberNode:
		if s, ok := n.Property.(*ast.StringNode); ok {
			return s.Value
		}
	}
	return ""
}
