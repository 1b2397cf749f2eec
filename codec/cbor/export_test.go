package cbor

// Unchecked writes v and reads it into back without a look at either.
func Unchecked(v, back any) error {
	c := Codec.(codec)
	data, err := encOptions().EncMode()
	if err != nil {
		return err
	}
	written, err := data.Marshal(v)
	if err != nil {
		return err
	}
	return c.dec.Unmarshal(written, back)
}
