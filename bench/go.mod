module github.com/linkspan/linkspan/bench

go 1.26.0

require (
	github.com/linkspan/linkspan v0.0.0
	github.com/linkspan/linkspan/e2e v0.0.0
	github.com/twmb/franz-go v1.22.2
	github.com/twmb/franz-go/pkg/kadm v1.19.0
)

require (
	github.com/Azure/go-amqp v1.7.0 // indirect
	github.com/eclipse/paho.golang v0.23.0 // indirect
	github.com/eclipse/paho.mqtt.golang v1.5.1 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/twmb/franz-go/pkg/kmsg v1.15.0 // indirect
	golang.org/x/net v0.60.0 // indirect
	golang.org/x/sync v0.22.0 // indirect
)

replace (
	github.com/linkspan/linkspan => ../
	github.com/linkspan/linkspan/e2e => ../e2e
)
