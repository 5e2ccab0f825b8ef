"""Loading weights: every file, download and upload goes through `checkpoints.load_checkpoint`.

`download` fetches a file, `containers` and `pickles` turn it into named tensors, `state_dict` finds the
parameters among them, `facts` reads what the file says about itself, and `recognise` finds the variant.
"""
