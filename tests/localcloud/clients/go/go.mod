module clients

go 1.25

require (
	cloud.google.com/go/cloudtasks v1.23.0
	cloud.google.com/go/pubsub/v2 v2.9.0
	cloud.google.com/go/storage v1.70.0
	google.golang.org/api v0.280.0
)
