// Package topics sees to it that the log's topics are there, each with its retention, and that each has a generation:
// the small number that stands for its id in tables and tokens.
//
// In: the list of topics, and what the brokers say of them every few seconds. Out: topics that were missing, and a
// TopicDefined event for each id that the registry does not know. A topic that was deleted is made again, and since its id
// is another one it gets another generation: offsets of the two are never confused.
//
// The registry's own topic is different: it is the truth, so a new one in its place is no truth at all. Its loss ends
// the process, and an operator decides.
package topics
