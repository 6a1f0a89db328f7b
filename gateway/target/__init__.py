"""The target's side: reached with a credential of its own, its catalog read and watched, estimates asked for."""
