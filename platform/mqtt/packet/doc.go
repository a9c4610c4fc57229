// Package packet is the bytes of MQTT 3.1.1 (OASIS, 2014) and 5.0 (OASIS, 2019): the packets of a server that takes messages
// and gives none, and those of its clients. That is CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE and UNSUBSCRIBE (which such a
// server has to answer), SUBACK, UNSUBACK, PINGREQ, PINGRESP and DISCONNECT.
//
// Decoding aliases what it is given and allocates nothing; whoever calls it has limited the length before. Every rule of the two
// texts on flags, lengths, properties and strings is held to, and what breaks one is an *Error whose reason code is the one that
// 5.0 names for it. The numbers in brackets are those that the texts give their rules.
//
// What a connection does with packets, and in which order they may come, is session's.
package packet
