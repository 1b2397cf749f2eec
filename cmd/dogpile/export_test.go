package main

// Main is the command, for its tests.
var Main = main
