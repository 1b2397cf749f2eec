package dogpile

// What settings look names up with.
var (
	CodecNamed   = codecNamed
	ManglerNamed = manglerNamed
	CheckName    = checkName
)
