"""`penstock top`: look.py asks the queue, view.py makes numbers of several looks, frame.py draws them."""
