//go:build keep

// Requirements of what is being written; this file goes when it is imported.
package main

import (
	_ "github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs"
	_ "github.com/coreos/go-oidc/v3/oidc"
	_ "github.com/fluxcd/pkg/auth"
	_ "github.com/fluxcd/pkg/auth/azure"
	_ "github.com/fluxcd/pkg/auth/gcp"
	_ "github.com/fluxcd/pkg/auth/githubapp"
	_ "github.com/getsentry/sentry-go"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/google/cel-go/cel"
	_ "github.com/nats-io/nats-server/v2/server"
	_ "github.com/nats-io/nats.go"
	_ "github.com/nats-io/nkeys"
	_ "go.opentelemetry.io/otel"
	_ "go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	_ "go.opentelemetry.io/otel/sdk/trace"
	_ "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	_ "go.opentelemetry.io/proto/otlp/trace/v1"
	_ "google.golang.org/api/pubsub/v1"
)
