"""From WHAM's output to the animator's world: contacts, gravity, placement, foot locking, SMPLify."""
