package sqs

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/smithy-go"
)

// ErrRefused says that SQS refuses: the queue is not there, or these
// credentials may not do what the source does.
var ErrRefused = errors.New("refused")

// explain makes an error of what an operation on the queue ended with. It
// passes on the code and the status only: SQS echoes parts of the request in
// its texts, a session token among them (promise 7).
func (s *Source) explain(operation string, err error) error {
	code, refused := refusal(err)
	if !refused {
		return fmt.Errorf("sqs: %s queue %s: %s", operation, s.o.Name, cause(err))
	}
	return fmt.Errorf("sqs: %s queue %s: %w: %s: %s", operation, s.o.Name, ErrRefused, cause(err), remedy(code))
}

// refusal tells whether trying again will not mend err.
func refusal(err error) (code string, refused bool) {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "", false
	}
	code = api.ErrorCode()
	passing := strings.Contains(code, "Throttl") || strings.Contains(code, "Limit") || code == "SlowDown"
	status := statusOf(err)
	return code, !passing && status >= 400 && status < 500 &&
		status != http.StatusRequestTimeout && status != http.StatusTooManyRequests
}

func statusOf(err error) int {
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) {
		return 0
	}
	return answer.HTTPStatusCode()
}

// cause is the heart of an error of the SDK, which wraps it in many words.
func cause(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return fmt.Sprintf("%s (HTTP %d)", api.ErrorCode(), statusOf(err))
	}
	var sent *url.Error
	if errors.As(err, &sent) {
		return sent.Err.Error()
	}
	return err.Error()
}

func remedy(code string) string {
	switch {
	case strings.Contains(code, "NonExistentQueue"), strings.Contains(code, "QueueDoesNotExist"):
		return "correct the name, the region or the account, or create the queue"
	case strings.HasPrefix(strings.ToUpper(code), "KMS"):
		return "allow these credentials kms:Decrypt with the queue's key"
	case strings.HasPrefix(code, "AccessDenied"):
		return "allow these credentials sqs:GetQueueUrl, sqs:GetQueueAttributes, sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on it"
	case strings.HasPrefix(code, "ExpiredToken"):
		return "renew the session's credentials"
	case strings.Contains(code, "Client"), strings.Contains(code, "Signature"), strings.Contains(code, "Security"), strings.Contains(code, "Token"):
		return "correct the AWS credentials, and check this machine's clock"
	}
	return "see the code in the documentation of Amazon SQS"
}
