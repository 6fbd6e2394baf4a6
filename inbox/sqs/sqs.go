// Package sqs is a source that receives from an Amazon SQS queue.
//
// What arrives there is commercetools' own destination SQS, or EventBridge and
// SNS in front of it.
//
// # Acknowledgement
//
// Messages are deleted in batches after put returned nil (promise 1), and what
// SQS says of each is read. One whose deletion failed comes again, which the
// ledger knows to skip.
//
// # While put fails
//
// What has been received is kept hidden from others by extending its
// visibility, and is put again with a growing delay; nothing else is received.
// Letting it lapse would count up its receives, and a queue with a redrive
// policy would bury it.
//
// # Stop
//
// Puts under way are finished within ten seconds and their messages deleted;
// the others are given back at once.
package sqs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"golang.org/x/sync/errgroup"
)

// Options of a Source. Name is mandatory.
type Options struct {
	// Name or URL of the queue.
	Name string
	// Region of AWS. Default: that of the URL, else that of the environment.
	Region string
	// Endpoint is another address of the service than the region's. Default:
	// that of the environment, else that of the URL.
	Endpoint string
	// Receivers poll and put at once, each ten messages; default 4.
	Receivers int
	// Wait is how long one poll waits for a message, in whole seconds from 1 s
	// to 20 s; default 20 s.
	Wait time.Duration
	// Client, if set, is used instead of one made from the environment.
	Client Client
	// Log; nil discards.
	Log *slog.Logger
	// Observe is told of n messages received, acknowledged, extended or
	// released, and of n put-failed, delete-failed, extend-failed or
	// receive-failed, for metrics; nil for none. Called by several goroutines
	// at once.
	Observe func(event string, n int)
}

// A Client is what the source needs of *sqs.Client.
type Client interface {
	GetQueueUrl(context.Context, *sqs.GetQueueUrlInput, ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

// A Source receives from one queue. Make it with New.
type Source struct{ o Options }

// New checks the options. It does no I/O.
func New(o Options) (*Source, error) {
	if o.Name == "" {
		return nil, errors.New("sqs: no queue: set its name or URL")
	}
	if isURL(o.Name) {
		u, err := url.Parse(o.Name)
		if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
			return nil, errors.New("sqs: the queue's URL is none: it should look like https://sqs.eu-central-1.amazonaws.com/123456789012/ct-queue")
		}
		region := regionOf(u.Hostname())
		if o.Region != "" && region != "" && o.Region != region {
			return nil, fmt.Errorf("sqs: the queue's URL is of region %s, not %s: correct one of them", region, o.Region)
		}
		o.Region = cmp.Or(o.Region, region)
	}
	o.Wait = cmp.Or(o.Wait, 20*time.Second)
	// A poll that does not wait would be repeated at once, and paid for.
	if o.Wait < time.Second || o.Wait > 20*time.Second {
		return nil, fmt.Errorf("sqs: wait %s: must be from 1 s to 20 s", o.Wait)
	}
	o.Receivers = cmp.Or(o.Receivers, 4)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, int) {}
	}
	return &Source{o}, nil
}

// Check tells whether the queue is there and these credentials may read it.
// An error is an ErrRefused where trying again will not mend it.
func (s *Source) Check(ctx context.Context) error {
	client, queue, err := s.open(ctx)
	if err != nil {
		return err
	}
	_, err = client.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &queue, AttributeNames: []types.QueueAttributeName{types.QueueAttributeNameVisibilityTimeout},
	})
	if err != nil {
		return s.explain("look at", err)
	}
	return nil
}

// Run receives until ctx is done; see [ct2fluent.Source]. It returns an error
// where SQS refuses, or cannot be found at the start. One that is out of reach
// later is asked again.
func (s *Source) Run(ctx context.Context, put func(ctx context.Context, body []byte) error) error {
	client, queue, err := s.open(ctx)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	// Puts under way outlive ctx, up to the limit of the stop.
	work, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	context.AfterFunc(ctx, func() {
		select {
		case <-time.After(stopLimit):
			giveUp()
		case <-work.Done():
		}
	})
	r := &run{Source: s, client: client, queue: queue, put: put, work: work}
	for range s.o.Receivers {
		g.Go(func() error { return r.receive(ctx) })
	}
	return g.Wait()
}

// open finds credentials, service and queue.
func (s *Source) open(ctx context.Context) (client Client, queue string, err error) {
	client = s.o.Client
	if client == nil {
		if client, err = s.dial(ctx); err != nil {
			return nil, "", err
		}
	}
	if isURL(s.o.Name) {
		return client, s.o.Name, nil
	}
	out, err := client.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: &s.o.Name})
	if err != nil {
		return nil, "", s.explain("find", err)
	}
	return client, aws.ToString(out.QueueUrl), nil
}

func (s *Source) dial(ctx context.Context) (Client, error) {
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(s.o.Region),
		// Without a limit a connection that died silently would hold its
		// receiver for good.
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTimeout(s.o.Wait+callLimit)))
	if err != nil {
		return nil, fmt.Errorf("sqs: read the AWS configuration: %w", err)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, fmt.Errorf("sqs: no AWS credentials: %s: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or run with a role", cause(err))
	}
	client := sqs.NewFromConfig(cfg, func(o *sqs.Options) {
		if s.o.Endpoint != "" {
			o.BaseEndpoint = &s.o.Endpoint
		}
		if u, err := url.Parse(s.o.Name); o.BaseEndpoint == nil && err == nil && isURL(s.o.Name) {
			o.BaseEndpoint = aws.String(u.Scheme + "://" + u.Host)
		}
		// What is no service of AWS takes any region.
		if o.Region == "" && o.BaseEndpoint != nil {
			o.Region = "us-east-1"
		}
	})
	if client.Options().Region == "" {
		return nil, fmt.Errorf("sqs: queue %s: no region: set region, or AWS_REGION", s.o.Name)
	}
	return client, nil
}

func isURL(name string) bool { return strings.Contains(name, "://") }

// regionOf reads hosts such as sqs.eu-central-1.amazonaws.com and the older
// eu-central-1.queue.amazonaws.com; "" if it finds none.
func regionOf(host string) string {
	labels := strings.Split(host, ".")
	for i, label := range labels {
		var region string
		switch {
		case strings.HasPrefix(label, "sqs") && i+1 < len(labels):
			region = labels[i+1]
		case label == "queue" && i > 0:
			region = labels[i-1]
		}
		if strings.Count(region, "-") >= 2 {
			return region
		}
	}
	return ""
}
