"""The screens: Live, Approvals, Replay, and the dialogs over them."""
