package dogpile

// What settings look names up with.
var (
	CodecNamed   = codecNamed
	ManglerNamed = manglerNamed
	CheckName    = checkName
)

// How a region calls its codec.
var (
	Encode    = encode
	Decode    = decode
	CheckType = checkType
)
