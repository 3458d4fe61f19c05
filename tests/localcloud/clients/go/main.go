// Google's clients for Go: a resumable upload, a precondition, a stream of messages, queues, a task.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"sort"
	"sync"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
)

const chunk = 256 * 1024

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

// objects uploads in chunks, reads back, lists, and is refused to overwrite.
func objects(ctx context.Context, bucket string, told map[string]any) {
	client := must(storage.NewClient(ctx))
	data := bytes.Repeat([]byte("0123456789abcdef"), 3*chunk/16+1)
	once := client.Bucket(bucket).Object("from/go.bin").If(storage.Conditions{DoesNotExist: true})
	put := func() error {
		writer := once.NewWriter(ctx)
		writer.ChunkSize = chunk
		if _, err := writer.Write(data); err != nil {
			return err
		}
		return writer.Close()
	}
	must(0, put())
	var refused *googleapi.Error
	if err := put(); errors.As(err, &refused) {
		told["again"] = refused.Code
	}
	reader := must(client.Bucket(bucket).Object("from/go.bin").NewReader(ctx))
	told["same"] = bytes.Equal(data, must(io.ReadAll(reader)))
	names := []string{}
	for all := client.Bucket(bucket).Objects(ctx, &storage.Query{Prefix: "from/go"}); ; {
		found, err := all.Next()
		if err == iterator.Done {
			break
		}
		names = append(names, must(found, err).Name)
	}
	told["objects"] = names
}

// messages hears each once; one is given back, and comes again.
func messages(ctx context.Context, project string, told map[string]any) {
	client := must(pubsub.NewClient(ctx, project))
	topic, to := fmt.Sprintf("projects/%s/topics/from-go", project), fmt.Sprintf("projects/%s/subscriptions/to-go", project)
	must(client.TopicAdminClient.CreateTopic(ctx, &pubsubpb.Topic{Name: topic}))
	must(client.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{Name: to, Topic: topic}))
	publisher := client.Publisher(topic)
	for _, text := range []string{"one", "two", "again"} {
		must(publisher.Publish(ctx, &pubsub.Message{Data: []byte(text)}).Get(ctx))
	}
	publisher.Stop()
	until, cancel := context.WithCancel(ctx)
	var lock sync.Mutex
	heard, refused := []string{}, false
	must(0, client.Subscriber(to).Receive(until, func(_ context.Context, message *pubsub.Message) {
		lock.Lock()
		defer lock.Unlock()
		text := string(message.Data)
		if text == "again" && !refused {
			refused = true
			heard = append(heard, "refused")
			message.Nack()
			return
		}
		heard = append(heard, text)
		message.Ack()
		if len(heard) == 4 {
			cancel()
		}
	}))
	sort.Strings(heard)
	told["heard"] = heard
}

func queues(ctx context.Context, parent string, told map[string]any) {
	client := must(cloudtasks.NewClient(ctx))
	queue := must(client.ListQueues(ctx, &cloudtaskspb.ListQueuesRequest{Parent: parent}).Next())
	told["queue"] = queue.Name
	request := &cloudtaskspb.HttpRequest{Url: "https://example.com/", HttpMethod: cloudtaskspb.HttpMethod_POST}
	task := must(client.CreateTask(ctx, &cloudtaskspb.CreateTaskRequest{
		Parent: queue.Name,
		Task:   &cloudtaskspb.Task{MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: request}},
	}))
	told["task"] = task.Name
}

func main() {
	project, parent, bucket := os.Args[1], os.Args[2], os.Args[3]
	ctx, told := context.Background(), map[string]any{}
	objects(ctx, bucket, told)
	messages(ctx, project, told)
	queues(ctx, parent, told)
	fmt.Println(string(must(json.Marshal(told))))
}
