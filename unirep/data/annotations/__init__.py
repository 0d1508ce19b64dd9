"""Readers of the label files of AVE, AVVP (LLP), VGGSound and UCF101."""
