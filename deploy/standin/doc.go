// Command standin takes the place of an image that cannot be pulled where the Compose stack is tried without a
// registry of images: `standin kafka` is the broker under Redpanda's name, `standin clickhouse` the store under
// ClickHouse's. Both are the embedded engines, opened to the container's network: what is tried is the stack
// (order, users, rights, health, the services' image), not the engines.
package main
