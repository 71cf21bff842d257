"""Reads the first record of a Kafka topic after a login with SCRAM-SHA-512 over TLS, and prints its key and value."""

import sys

from confluent_kafka import Consumer

addr, ca, user, password, topic = sys.argv[1:]
consumer = Consumer(
    {
        "bootstrap.servers": addr,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": ca,
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": user,
        "sasl.password": password,
        "group.id": "others-read",
        "auto.offset.reset": "earliest",
    }
)
consumer.subscribe([topic])
while (record := consumer.poll(1)) is None or record.error():
    pass
print(record.key().decode(), record.value().decode())
consumer.close()
