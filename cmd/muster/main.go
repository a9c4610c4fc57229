// Command muster is the local stack and the operator's commands in one binary.
package main

func main() {}
