package main

// directoryCommands are the commands for people, groups and applications.
type directoryCommands struct{}
