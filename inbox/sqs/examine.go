package sqs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// tooMany is more than one call to receive may ask for.
const tooMany = 11

// shortRetention is how long a queue should keep messages, at least.
const shortRetention = 24 * time.Hour

// Examine says more of the queue than Check: in each entry whether it is ok or
// a warning, what there is, and what to do about it. It takes no message.
// Running says that this queue's own consumer is at work.
func (s *Source) Examine(ctx context.Context, running bool) ([][3]string, error) {
	client, queue, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	out, err := client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameAll},
	})
	if err != nil {
		return nil, s.explain("look at", err)
	}
	number := func(name types.QueueAttributeName) int {
		n, _ := strconv.Atoi(out.Attributes[string(name)]) // one that is not told is 0
		return n
	}
	waiting, inHand := number(types.QueueAttributeNameApproximateNumberOfMessages), number(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)

	refused, allowed := s.permissions(ctx, client, queue)
	found := [][3]string{{"ok", fmt.Sprintf("about %d messages wait, %d are in hand; not refused: %s", waiting, inHand, allowed), ""}}
	for _, r := range refused {
		found = append(found, [3]string{"failed", r + " is not allowed", "give these credentials " + r + " for the queue"})
	}
	switch {
	case inHand > 0 && !running:
		found = append(found, [3]string{"warning", fmt.Sprintf("%d messages are in the hands of another consumer, and ct2fluent does not run: what it takes never comes here", inHand),
			"give ct2fluent a queue of its own"})
	case inHand > 0:
		found[0][1] += "; whether all are in ct2fluent's hands cannot be told"
	}
	if kept := time.Duration(number(types.QueueAttributeNameMessageRetentionPeriod)) * time.Second; kept > 0 && kept < shortRetention {
		found = append(found, [3]string{"warning", fmt.Sprintf("messages are kept for %v only, and are lost when ct2fluent is down for longer", kept),
			"raise MessageRetentionPeriod, to 14 days at best"})
	}
	return found, nil
}

// permissions asks for what the consumer does in ways that do nothing: with a
// receipt that is none, and for more messages than one call gives.
func (s *Source) permissions(ctx context.Context, client Client, queue string) (refused []string, allowed string) {
	none := aws.String("ct2fluent-check")
	tries := []struct {
		name string
		call func() error
	}{
		{"sqs:DeleteMessage", func() error {
			_, err := client.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &queue,
				Entries: []types.DeleteMessageBatchRequestEntry{{Id: none, ReceiptHandle: none}}})
			return err
		}},
		{"sqs:ChangeMessageVisibility", func() error {
			_, err := client.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &queue,
				Entries: []types.ChangeMessageVisibilityBatchRequestEntry{{Id: none, ReceiptHandle: none}}})
			return err
		}},
		{"sqs:ReceiveMessage", func() error {
			_, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, MaxNumberOfMessages: tooMany})
			return err
		}},
	}
	allowed = "sqs:GetQueueAttributes"
	for _, t := range tries {
		err := t.call()
		var code smithy.APIError
		switch {
		case err == nil:
			allowed += ", " + t.name
		case !errors.As(err, &code): // it could not be asked for
		case denied(code.ErrorCode()):
			refused = append(refused, t.name)
		default:
			allowed += ", " + t.name
		}
	}
	return refused, allowed
}

// denied tells whether a code says that something is not allowed.
func denied(code string) bool {
	switch code {
	case "AccessDenied", "AccessDeniedException", "AWS.SimpleQueueService.AccessDenied":
		return true
	}
	return false
}
