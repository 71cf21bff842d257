package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Parts says where the things are that parts.sh installs.
type Parts struct {
	Kafka  string // folder of jars
	HiveMQ string // folder of jars
	JMS    string // folder of jars
	Vertx  string // folder of jars
	Spark  string // folder of jars
	Node   string // folder that holds node_modules
	Python string // an interpreter that knows paho and confluent_kafka
	Proton string // an interpreter that knows proton

	Brokers map[string]string // folders of MQTT brokers that run in Java: jars and a main class
}

// FindParts returns the installed parts, or everything that is missing.
func FindParts() (Parts, error) {
	cache := os.Getenv("LINKSPAN_E2E_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return Parts{}, err
		}
		cache = filepath.Join(user, "linkspan-e2e")
	}
	parts := Parts{
		Kafka:  filepath.Join(cache, "kafka"),
		HiveMQ: filepath.Join(cache, "hivemq"),
		JMS:    filepath.Join(cache, "jms"),
		Vertx:  filepath.Join(cache, "vertx"),
		Spark:  filepath.Join(cache, "spark"),
		Node:   filepath.Join(cache, "node"),
		Python: filepath.Join(cache, "python", "bin", "python"),
		Proton: "/usr/bin/python3",

		Brokers: map[string]string{},
	}
	files := []string{parts.Kafka, parts.HiveMQ, parts.JMS, parts.Vertx, parts.Spark, parts.Node, filepath.Join(parts.Node, "node_modules", "rhea"),
		parts.Python, parts.Proton, "/usr/lib/python3/dist-packages/proton", rabbitmqServer}
	for _, broker := range []string{"activemq", "artemis", "hivemq"} {
		parts.Brokers[broker] = filepath.Join(cache, "broker-"+broker)
		files = append(files, parts.Brokers[broker])
	}
	var missing []error
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, err)
		}
	}
	for _, command := range []string{"java", "node", "mosquitto", "mosquitto_pub", "mosquitto_sub", "kcat", "epmd", "strace", "mkfs.ext4", "mount"} {
		if _, err := exec.LookPath(server(command)); err != nil {
			missing = append(missing, err)
		}
	}
	if len(missing) > 0 {
		return Parts{}, fmt.Errorf("run `make parts` first: %w", errors.Join(missing...))
	}
	return parts, nil
}
