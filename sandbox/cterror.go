package sandbox

import (
	"errors"
	"maps"
	"strings"
)

// A ctError is an error as commercetools tells it.
type ctError struct {
	Status  int
	Code    string
	Message string
	Extra   map[string]any // beside the code
}

func (e *ctError) Error() string { return e.Code + ": " + e.Message }

func invalid(message string) error {
	return &ctError{Status: 400, Code: "InvalidInput", Message: message}
}

func duplicate(field string, value any) error {
	return &ctError{Status: 400, Code: "DuplicateField", Message: "There is already one with that " + field + ".",
		Extra: map[string]any{"field": field, "duplicateValue": value}}
}

func notFound(name string) error {
	return &ctError{Status: 404, Code: "ResourceNotFound", Message: "The Resource with ID '" + name + "' was not found."}
}

func conflict(current int64) error {
	return &ctError{Status: 409, Code: "ConcurrentModification", Message: "Version mismatch. Concurrent modification.",
		Extra: map[string]any{"currentVersion": current}}
}

var (
	wrongMethod       = &ctError{Status: 405, Code: "MethodNotAllowed", Message: "method not allowed"}
	insufficientScope = &ctError{Status: 403, Code: "insufficient_scope", Message: "Permissions exceeded."}
	invalidClient     = &ctError{Status: 401, Code: "invalid_client", Message: "Please provide valid client credentials using HTTP Basic Authentication."}
)

// failed is an error in commercetools' format; that of its OAuth side has two
// fields more.
func failed(err error) answer {
	var e *ctError
	if !errors.As(err, &e) {
		e = &ctError{Status: 500, Code: "General", Message: "internal error"}
	}
	one := map[string]any{"code": e.Code, "message": e.Message}
	maps.Copy(one, e.Extra)
	doc := map[string]any{"statusCode": e.Status, "message": e.Message, "errors": []any{one}}
	if e.Code == strings.ToLower(e.Code) {
		doc["error"], doc["error_description"] = e.Code, e.Message
	}
	return answer{status: e.Status, body: encode(doc)}
}
