"""Search over soups: how much hypervolume do layer-wise soups, global soups and linear interpolation reach with equally many evaluations?"""
