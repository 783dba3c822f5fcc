#!/bin/sh
# Prints the environment that Apache gives to programs.
printf 'Content-Type: text/plain\n\n'
env -0 | base64 -w0
