"""Durable workflows on RabbitMQ and Redis."""
